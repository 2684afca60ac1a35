// Owns: the grammar and the exact arithmetic of quantities. The digits stay a string of decimal
// digits until they are cut at 10^-9, so that no length of input loses anything.
// Must not: use floating point.
#include "spec/kubernetes/quantity.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <optional>
#include <utility>

#include "base/text.h"

namespace minirun {

namespace {

constexpr Uint128 nanos_per_unit = 1'000'000'000;
constexpr Uint128 nanos_per_milli = 1'000'000;
constexpr Uint128 int64_max = std::numeric_limits<std::int64_t>::max();
constexpr Uint128 uint128_max = ~Uint128{0};

struct Suffix {
  std::string_view text;
  int base;
  int exponent;
};

constexpr std::array<Suffix, 16> suffixes = {{{"n", 10, -9},
                                              {"u", 10, -6},
                                              {"m", 10, -3},
                                              {"", 10, 0},
                                              {"k", 10, 3},
                                              {"M", 10, 6},
                                              {"G", 10, 9},
                                              {"T", 10, 12},
                                              {"P", 10, 15},
                                              {"E", 10, 18},
                                              {"Ki", 2, 10},
                                              {"Mi", 2, 20},
                                              {"Gi", 2, 30},
                                              {"Ti", 2, 40},
                                              {"Pi", 2, 50},
                                              {"Ei", 2, 60}}};

std::string_view suffix_text(int base, int exponent) {
  for (const Suffix& suffix : suffixes)
    if (suffix.base == base && suffix.exponent == exponent) return suffix.text;
  return {};
}

std::string decimal_text(Uint128 number) {
  std::string digits;
  do {
    digits += static_cast<char>('0' + static_cast<int>(number % 10));
    number /= 10;
  } while (number != 0);
  std::reverse(digits.begin(), digits.end());
  return digits;
}

/// Digits times 10^-fraction, cut at 10^-9 and rounded away from zero; nothing when it exceeds
/// 128 bits.
std::optional<Uint128> digits_to_nanos(std::string_view digits, std::int64_t shift) {
  const std::size_t keep =
      shift >= 0 ? digits.size()
                 : digits.size() - std::min(digits.size(), static_cast<std::size_t>(-shift));
  Uint128 nanos = 0;
  auto push = [&nanos](unsigned digit) {
    if (nanos > (uint128_max - digit) / 10) return false;
    nanos = nanos * 10 + digit;
    return true;
  };
  for (char c : digits.substr(0, keep))
    if (!push(static_cast<unsigned>(c - '0'))) return std::nullopt;
  if (nanos != 0)
    for (std::int64_t i = 0; i < shift; ++i)
      if (!push(0)) return std::nullopt;
  const bool rest = digits.substr(keep).find_first_not_of('0') != std::string_view::npos;
  if (rest && ++nanos == 0) return std::nullopt;
  return nanos;
}

/// digits * 1024, in place, as text: exact for every length.
void multiply_by_1024(std::string& digits) {
  unsigned carry = 0;
  for (auto it = digits.rbegin(); it != digits.rend(); ++it) {
    const unsigned product = static_cast<unsigned>(*it - '0') * 1024U + carry;
    *it = static_cast<char>('0' + static_cast<int>(product % 10));
    carry = product / 10;
  }
  if (carry != 0) digits.insert(0, std::to_string(carry));
}

/// What the writer of "64mb" or "1K" probably meant, or an empty string.
std::string suffix_hint(std::string_view number, std::string_view suffix) {
  std::string letters;
  for (char c : suffix) letters += static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  const bool binary = letters.size() > 1 && letters[1] == 'i';
  if (letters.ends_with("b")) letters.pop_back();
  if (letters.ends_with("i")) letters.pop_back();
  if (letters.empty() && !suffix.empty()) return "; bytes have no suffix";
  static constexpr std::string_view scale = "kmgtpe";
  if (letters.size() != 1 || !scale.contains(letters[0]))
    return "; use k M G T P E or Ki Mi ... Ei";
  const std::size_t step = scale.find(letters[0]) + 1;
  const std::string decimal =
      fmt::format("{}{}", number, suffix_text(10, static_cast<int>(step) * 3));
  const std::string power_of_two =
      fmt::format("{}{}", number, suffix_text(2, static_cast<int>(step) * 10));
  if (binary) return fmt::format("; use {} (2^{})", power_of_two, step * 10);
  return fmt::format("; use {} (10^{}) or {} (2^{})", decimal, step * 3, power_of_two, step * 10);
}

std::string shortened(std::string_view text) {
  constexpr std::size_t shown = 40;
  if (text.size() <= shown) return std::string(text);
  return fmt::format("{}...", text.substr(0, shown));
}

}  // namespace

/// One pass over one text. The kinds of error and their order are those of Kubernetes.
class QuantityReader {
 public:
  explicit QuantityReader(std::string_view text) : text_(text) {}

  std::expected<Quantity, QuantityError> read() {
    if (text_.empty()) return fail(QuantityError::Kind::format, "is empty");
    split();
    if (auto problem = check_shape()) return std::unexpected(std::move(*problem));
    if (auto problem = interpret_suffix()) return std::unexpected(std::move(*problem));
    return compute();
  }

 private:
  static std::unexpected<QuantityError> fail(QuantityError::Kind kind, std::string reason) {
    return std::unexpected(QuantityError{kind, std::move(reason)});
  }

  void split() {
    std::size_t at = 0;
    if (text_[at] == '+' || text_[at] == '-') negative_ = text_[at++] == '-';
    auto digits = [&] {
      const std::size_t start = at;
      while (at < text_.size() && is_digit(text_[at])) ++at;
      return text_.substr(start, at - start);
    };
    const std::size_t number = at;
    whole_ = digits();
    if (at < text_.size() && text_[at] == '.') {
      ++at;
      fraction_ = digits();
    }
    number_ = text_.substr(number, at - number);
    suffix_ = text_.substr(at);
    without_digits_ = whole_.empty() && fraction_.empty();
    whole_.remove_prefix(std::min(whole_.find_first_not_of('0'), whole_.size()));
  }

  /// A suffix is letters of the known ones, a sign, digits: everything else is a wrong shape.
  std::optional<QuantityError> check_shape() const {
    std::size_t at = 0;
    while (at < suffix_.size() && std::string_view("eEinumkKMGTP").contains(suffix_[at])) ++at;
    if (at < suffix_.size() && (suffix_[at] == '-' || suffix_[at] == '+')) ++at;
    while (at < suffix_.size() && is_digit(suffix_[at])) ++at;
    if (at == suffix_.size()) return std::nullopt;
    return QuantityError{QuantityError::Kind::format, shape_reason()};
  }

  std::string shape_reason() const {
    if (text_.find_first_of(" \t\r\n") != std::string_view::npos) return "contains a blank";
    if (suffix_.starts_with(',') || suffix_.starts_with('_'))
      return fmt::format("\"{}\" is not allowed in a number; the decimal sign is \".\"",
                         suffix_[0]);
    if (suffix_.starts_with('.')) return "has two decimal points";
    if (suffix_.starts_with('x') || suffix_.starts_with('X'))
      return "hexadecimal is not allowed; write a decimal number";
    if (without_digits_) return "is not a number";
    if (exponent_then_letters())
      return "a suffix and an exponent cannot be combined; use one of them";
    return fmt::format("unknown suffix \"{}\"{}", shortened(suffix_),
                       suffix_hint(shortened(number_), suffix_));
  }

  bool exponent_then_letters() const {
    return suffix_.size() > 2 && (suffix_[0] == 'e' || suffix_[0] == 'E') &&
           (is_digit(suffix_[1]) || suffix_[1] == '+' || suffix_[1] == '-');
  }

  std::optional<QuantityError> interpret_suffix() {
    for (const Suffix& known : suffixes) {
      if (known.text != suffix_) continue;
      binary_ = known.base == 2;
      exponent_ = known.exponent;
      format_ = binary_ ? Quantity::Format::binary_si : Quantity::Format::decimal_si;
      return std::nullopt;
    }
    const bool letter_e = suffix_[0] == 'e' || suffix_[0] == 'E';
    if (!letter_e)
      return QuantityError{QuantityError::Kind::suffix,
                           fmt::format("unknown suffix \"{}\"{}", shortened(suffix_),
                                       suffix_hint(shortened(number_), suffix_))};
    std::string_view digits = suffix_.substr(1);
    if (digits.starts_with('+')) digits.remove_prefix(1);
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), exponent_);
    if (error == std::errc::result_out_of_range)
      return QuantityError{QuantityError::Kind::range, "the exponent is out of range"};
    if (error != std::errc{} || end != digits.data() + digits.size())
      return QuantityError{QuantityError::Kind::suffix,
                           fmt::format("exponent \"{}\" has no number", shortened(suffix_))};
    format_ = Quantity::Format::decimal_exponent;
    return std::nullopt;
  }

  std::expected<Quantity, QuantityError> compute() {
    // Kubernetes takes "Mi" for zero but stumbles over the forms that leave its fast path.
    if (without_digits_ && ((binary_ && exponent_ >= 50) || exponent_ < -9))
      return fail(QuantityError::Kind::numeric, "has a suffix but no number");
    std::string digits = std::string(whole_) + std::string(fraction_);
    for (std::int64_t i = 0; binary_ && i < exponent_; i += 10) multiply_by_1024(digits);
    const std::int64_t shift =
        9 - static_cast<std::int64_t>(fraction_.size()) + (binary_ ? 0 : exponent_);
    const std::optional<Uint128> nanos = digits_to_nanos(digits, shift);
    Quantity quantity;
    quantity.format_ = format_;
    quantity.without_digits_ = without_digits_;
    quantity.capped_ = binary_ && (!nanos || *nanos > int64_max * nanos_per_unit);
    if (!nanos && !binary_) return fail(QuantityError::Kind::range, "is larger than 3.4e29");
    quantity.nanos_ = quantity.capped_ ? int64_max * nanos_per_unit : *nanos;
    quantity.negative_ = negative_ && quantity.nanos_ != 0;
    if (binary_ && quantity.nanos_ > 0 && quantity.nanos_ < nanos_per_unit)
      quantity.format_ = Quantity::Format::decimal_si;
    if (text_ == "0" || canonical_already()) quantity.spelling_ = text_;
    return quantity;
  }

  /// Kubernetes keeps the spelling when a cheap test calls it canonical, so "1E3" and "00100m"
  /// stay while "1000" becomes "1k".
  bool canonical_already() const {
    const std::string_view whole = whole_.empty() ? std::string_view("0") : whole_;
    if (whole.size() + fraction_.size() > 18) return false;
    if (binary_) {
      if (!fraction_.empty() || static_cast<std::int64_t>(whole.size()) > 14 - exponent_ * 3 / 10)
        return false;
      std::uint64_t number = 0;
      std::from_chars(whole.data(), whole.data() + whole.size(), number);
      return number % 8 != 0;
    }
    const std::int64_t scale = exponent_ - static_cast<std::int64_t>(fraction_.size());
    const std::string digits = std::string(whole) + std::string(fraction_);
    return scale >= -9 && scale % 3 == 0 && !digits.ends_with("000") && digits[0] != '0';
  }

  std::string_view text_;
  bool negative_ = false;
  bool without_digits_ = false;
  bool binary_ = false;
  std::string_view number_, whole_, fraction_, suffix_;
  std::int32_t exponent_ = 0;
  Quantity::Format format_ = Quantity::Format::decimal_si;
};

std::expected<Quantity, QuantityError> read_quantity(std::string_view text) {
  return QuantityReader(text).read();
}

Result<Quantity> parse_quantity(std::string_view text) {
  auto quantity = read_quantity(text);
  if (!quantity)
    return plain_error(fmt::format("\"{}\"", shortened(text)), std::move(quantity.error().reason));
  return std::move(*quantity);
}

Quantity Quantity::from_value(std::int64_t value, Format format) {
  Quantity quantity;
  quantity.negative_ = value < 0;
  const Int128 magnitude = value < 0 ? -Int128{value} : Int128{value};
  quantity.nanos_ = static_cast<Uint128>(magnitude) * nanos_per_unit;
  quantity.format_ = format;
  return quantity;
}

Quantity Quantity::from_milli(std::int64_t milli) {
  Quantity quantity = from_value(milli);
  quantity.nanos_ /= 1000;
  return quantity;
}

namespace {

Result<std::int64_t> rounded_up(Uint128 nanos, Uint128 unit, bool negative, std::string text,
                                std::string_view what) {
  const Uint128 whole = nanos / unit + (nanos % unit != 0 ? 1 : 0);
  if (whole > int64_max)
    return plain_error(
        fmt::format("\"{}\"", text),
        fmt::format("{} does not fit in 64 bits (Kubernetes would silently wrap)", what));
  const auto number = static_cast<std::int64_t>(whole);
  return negative ? -number : number;
}

}  // namespace

Result<std::int64_t> Quantity::value() const {
  return rounded_up(nanos_, nanos_per_unit, negative_, canonical(), "the value");
}

Result<std::int64_t> Quantity::milli_value() const {
  return rounded_up(nanos_, nanos_per_milli, negative_, canonical(), "the value in thousandths");
}

bool Quantity::fractional() const {
  return nanos_ % nanos_per_unit != 0;
}

bool Quantity::finer_than_milli() const {
  return nanos_ % nanos_per_milli != 0;
}

std::string Quantity::canonical() const {
  if (!spelling_.empty()) return spelling_;
  if (nanos_ == 0) return "0";
  std::string text = negative_ ? "-" : "";
  if (format_ == Format::binary_si && !fractional() && nanos_ >= 1024 * nanos_per_unit) {
    Uint128 number = nanos_ / nanos_per_unit;
    int exponent = 0;
    for (; number % 1024 == 0 && exponent < 60; exponent += 10) number /= 1024;
    return text + decimal_text(number) + std::string(suffix_text(2, exponent));
  }
  const bool exponent_form = format_ == Format::decimal_exponent;
  Uint128 number = nanos_;
  int exponent = -9;
  // Kubernetes has no suffix above E and prints 1000E as "1"; this stops at E.
  for (; number % 1000 == 0 && (exponent_form || exponent < 18); exponent += 3) number /= 1000;
  text += decimal_text(number);
  if (!exponent_form) return text + std::string(suffix_text(10, exponent));
  return exponent == 0 ? text : fmt::format("{}e{}", text, exponent);
}

Result<Quantity> Quantity::plus(const Quantity& other) const {
  Quantity sum = *this;
  sum.spelling_.clear();
  sum.capped_ = capped_ || other.capped_;
  sum.without_digits_ = false;
  if (zero()) sum.format_ = other.format_;
  if (negative_ == other.negative_) {
    if (nanos_ > uint128_max - other.nanos_)
      return plain_error(canonical() + " + " + other.canonical(), "the sum is out of range");
    sum.nanos_ = nanos_ + other.nanos_;
  } else if (nanos_ >= other.nanos_) {
    sum.nanos_ = nanos_ - other.nanos_;
  } else {
    sum.nanos_ = other.nanos_ - nanos_;
    sum.negative_ = other.negative_;
  }
  if (sum.nanos_ == 0) sum.negative_ = false;
  return sum;
}

}  // namespace minirun
