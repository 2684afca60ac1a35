#include "stage/step.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <limits>

namespace minirun {

std::string_view Step::text(std::size_t index) const {
  const auto* string = std::get_if<std::string>(&s[index]);
  return string != nullptr ? std::string_view(*string) : std::string_view();
}

const StringList& Step::list(std::size_t index) const {
  static const StringList none;
  const auto* strings = std::get_if<StringList>(&s[index]);
  return strings != nullptr ? *strings : none;
}

namespace {

/// Grows the flat program; every value starts at a multiple of 8.
class Encoder {
 public:
  explicit Encoder(std::size_t steps)
      : bytes_(sizeof(wire::Program) + steps * sizeof(wire::Step), '\0') {}

  std::uint32_t add(const StepText& text, bool spare_cell) {
    if (const auto* string = std::get_if<std::string>(&text)) return add_string(*string);
    if (const auto* strings = std::get_if<StringList>(&text)) return add_list(*strings, spare_cell);
    return 0;
  }

  void put(std::size_t at, const void* data, std::size_t size) {
    std::memcpy(bytes_.data() + at, data, size);
  }

  std::uint32_t add_numbers(std::span<const int> numbers) {
    const std::uint32_t at = place(numbers.size_bytes());
    if (!numbers.empty()) put(at, numbers.data(), numbers.size_bytes());
    return at;
  }

  std::string take() && { return std::move(bytes_); }
  [[nodiscard]] std::size_t size() const { return bytes_.size(); }

 private:
  std::uint32_t place(std::size_t size) {
    const std::size_t at = (bytes_.size() + 7) / 8 * 8;
    bytes_.resize(at + size, '\0');
    return static_cast<std::uint32_t>(at);
  }

  std::uint32_t add_string(const std::string& string) {
    const std::uint32_t at = place(string.size() + 1);
    put(at, string.data(), string.size());
    return at;
  }

  std::uint32_t add_list(const StringList& strings, bool spare_cell) {
    std::vector<std::uint64_t> cells;
    cells.reserve(strings.size());
    for (const std::string& string : strings) cells.push_back(add_string(string));
    const wire::ListHeader header{cells.size()};
    const std::size_t room = (cells.size() + 1 + (spare_cell ? 1 : 0)) * sizeof cells[0];
    const std::uint32_t at = place(sizeof header + room);
    put(at, &header, sizeof header);
    if (!cells.empty()) put(at + sizeof header, cells.data(), cells.size() * sizeof cells[0]);
    return at;
  }

  std::string bytes_;
};

}  // namespace

Result<std::string> encode(const Steps& steps, std::span<const int> slots, bool timing) {
  Encoder encoder(steps.size());
  std::uint32_t environment = 0;
  const StringList* environment_list = nullptr;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const Step& step = steps[i];
    wire::Step flat{};
    flat.op = step.op;
    flat.index = static_cast<std::uint32_t>(i);
    for (std::size_t k = 0; k < step.n.size(); ++k) flat.n[k] = step.n[k];
    for (std::size_t k = 0; k < step.s.size(); ++k) {
      const bool list = std::holds_alternative<StringList>(step.s[k]);
      if (list) flat.lists = static_cast<std::uint16_t>(flat.lists | (1U << k));
      const bool is_environment =
          (step.op == Op::home && k == 0) || (step.op == Op::execute && k == 2);
      if (is_environment && environment_list != nullptr && *environment_list == step.list(k)) {
        flat.s[k] = environment;  // `home` adds to the very list that `execute` uses
        continue;
      }
      flat.s[k] = encoder.add(step.s[k], is_environment);
      if (is_environment) {
        environment = flat.s[k];
        environment_list = &step.list(k);
      }
    }
    encoder.put(sizeof(wire::Program) + i * sizeof flat, &flat, sizeof flat);
  }
  const std::uint32_t fds = encoder.add_numbers(slots);
  if (encoder.size() > std::numeric_limits<std::int32_t>::max())
    return plain_error("program", "arguments and environment are larger than 2 GiB");
  const wire::Program program{wire::magic,
                              static_cast<std::uint32_t>(encoder.size()),
                              static_cast<std::uint32_t>(steps.size()),
                              sizeof(wire::Program),
                              static_cast<std::uint32_t>(slots.size()),
                              fds,
                              timing ? 1U : 0U};
  encoder.put(0, &program, sizeof program);
  return std::move(encoder).take();
}

Error describe_failure(const Steps& steps, const wire::Failure& failure) {
  Error error;
  error.errnum = failure.errnum;
  const auto call = static_cast<wire::Call>(failure.call);
  std::string words(failure.detail,
                    std::min<std::size_t>(failure.detail_length, wire::detail_size));
  if (failure.step >= steps.size()) {
    error.object = "start of the stage";
    error.detail = name(call);
    return error;
  }
  const Step& step = steps[failure.step];
  if (step.op == Op::execute || step.op == Op::check_executable) {
    // Engines look for these words (docker: 127 and 126).
    const StringList& candidates = step.list(0);
    const std::string program = !step.list(1).empty() ? step.list(1).front()
                                : candidates.empty()  ? ""
                                                      : candidates.front();
    error.object = step.field;
    const bool searched = program.find('/') == std::string::npos;
    error.detail = fmt::format(
        "exec \"{}\"{}", program,
        failure.errnum == ENOENT && searched ? ": executable file not found in $PATH" : "");
    return error;
  }
  error.object = step.field.empty() ? describe(step) : step.field;
  error.detail = step.field.empty() ? std::string(name(call))
                                    : fmt::format("{}: {}", describe(step), name(call));
  if (!words.empty()) {
    // control characters may come from names that an image chose
    for (char& c : words)
      if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
    const bool kernels = call == wire::Call::fsconfig || call == wire::Call::fsmount;
    error.detail += call == wire::Call::open ? fmt::format(" {}", words)
                    : kernels                ? fmt::format(" (kernel: {})", words)
                                             : fmt::format(" ({})", words);
  }
  if (const std::string rule = failure_rule(step, call, failure.errnum); !rule.empty())
    error.detail += ": " + rule;
  return error;
}

}  // namespace minirun
