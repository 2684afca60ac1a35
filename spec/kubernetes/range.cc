#include "spec/kubernetes/range.h"

#include <fmt/format.h>

#include "spec/kubernetes/cpu.h"
#include "spec/kubernetes/plan_parts.h"

namespace minirun::kubernetes {
namespace {

Result<Quantity> positive_amount(std::string_view text) {
  Quantity amount = TRY(parse_quantity(text));
  if (amount.negative() || amount.zero())
    return plain_error("", fmt::format("\"{}\" is not more than 0", text));
  return amount;
}

}  // namespace

Result<QuantityRange> parse_range(std::string_view text) {
  QuantityRange range;
  const std::size_t dots = text.find("..");
  if (dots == std::string_view::npos) {
    range.request = TRY(positive_amount(text));
    range.limit = range.request;
    return range;
  }
  range.request = TRY(positive_amount(text.substr(0, dots)));
  const std::string_view limit = text.substr(dots + 2);
  if (limit == "max") return range;
  range.limit = TRY(positive_amount(limit));
  if (range.request > *range.limit)
    return plain_error("", fmt::format("the request {} is above the limit {}",
                                       range.request.canonical(), range.limit->canonical()));
  return range;
}

Status set_cpu_range(const std::string& option, std::string_view text, Resources& resources,
                     std::map<std::string, Origin>& origins) {
  auto range = parse_range(text);
  if (!range) return plain_error(option, to_string(range.error()));
  const std::int64_t request = TRY(range->request.milli_value());
  resources.cpu.shares = milli_cpu_to_shares(request);
  origins["cpu.shares"] = {option, std::string(text), shares_formula(request)};
  resources.cpu.quota_us = -1;
  resources.cpu.period_us = cpu_period_default_us;
  std::string formula = "no limit";
  if (range->limit) {
    const std::int64_t limit = TRY(range->limit->milli_value());
    resources.cpu.quota_us = TRY(quota_of(limit, cpu_period_default_us));
    formula = quota_formula(limit, cpu_period_default_us);
  }
  origins["cpu.quota"] = {option, std::string(text), formula};
  origins["cpu.period"] = {option, std::string(text), ""};
  return {};
}

Status set_memory_range(const std::string& option, std::string_view text, Resources& resources,
                        std::map<std::string, Origin>& origins) {
  auto range = parse_range(text);
  if (!range) return plain_error(option, to_string(range.error()));
  resources.memory.limit_bytes = range->limit ? TRY(range->limit->value()) : -1;
  origins["memory.limit"] = {
      option, std::string(text),
      range->limit ? fmt::format("{} bytes; the request {} has no file",
                                 *resources.memory.limit_bytes, range->request.canonical())
                   : "no limit"};
  return {};
}

}  // namespace minirun::kubernetes
