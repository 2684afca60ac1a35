// Owns: the number format of Kubernetes resources ("500m", "1.5Gi"): reading, exact value, text.
// Must not: use floating point, or know which resource the number belongs to.
#pragma once

#include <compare>
#include <cstdint>
#include <expected>
#include <string>
#include <string_view>

#include "base/result.h"

namespace minirun {

// ISO C++ has no 128-bit integer; __extension__ keeps -Wpedantic quiet about the one of gcc.
__extension__ using Uint128 = unsigned __int128;
__extension__ using Int128 = __int128;

/// An exact multiple of 10^-9 with |value| < 3.4e29, and the family of suffixes it was written in.
/// Kubernetes: k8s.io/apimachinery/pkg/api/resource.Quantity.
class Quantity {
 public:
  enum class Format { decimal_si, binary_si, decimal_exponent };

  Quantity() = default;
  /// A whole number of units (bytes, CPUs).
  [[nodiscard]] static Quantity from_value(std::int64_t value, Format format = Format::decimal_si);
  /// A whole number of thousandths (milli-CPUs).
  [[nodiscard]] static Quantity from_milli(std::int64_t milli);

  /// Rounded away from zero to an integer, as memory, hugepages and storage are read. Error when
  /// it does not fit 64 bits; Kubernetes silently wraps ("12E" becomes 0).
  [[nodiscard]] Result<std::int64_t> value() const;
  /// 1000 times the value, rounded away from zero, as CPU is read. Error when it does not fit 64
  /// bits; Kubernetes silently wraps ("10P" becomes 0).
  [[nodiscard]] Result<std::int64_t> milli_value() const;
  /// The text that the API server stores: the input where that is canonical already, else the
  /// largest suffix of the input's family that leaves an integer ("1.5Gi" gives "1536Mi").
  [[nodiscard]] std::string canonical() const;

  [[nodiscard]] Format format() const { return format_; }
  [[nodiscard]] bool negative() const { return negative_; }
  [[nodiscard]] bool zero() const { return nanos_ == 0; }
  /// Not an integer: "400m" bytes of memory.
  [[nodiscard]] bool fractional() const;
  /// Finer than a thousandth: "0.5m" of a CPU.
  [[nodiscard]] bool finer_than_milli() const;
  /// The text had no digit ("Mi", "+"): Kubernetes reads it as zero, hence as "no limit".
  [[nodiscard]] bool without_digits() const { return without_digits_; }
  /// The text named more than 2^63-1 with a binary suffix, which Kubernetes cuts to 2^63-1.
  [[nodiscard]] bool capped() const { return capped_; }

  /// Exact sum in the family of the first operand that is not zero; error beyond the range.
  [[nodiscard]] Result<Quantity> plus(const Quantity& other) const;

  /// Numeric: 0.25 equals 250m.
  [[nodiscard]] friend bool operator==(const Quantity& a, const Quantity& b) {
    return a.nanos_ == b.nanos_ && a.negative_ == b.negative_;
  }
  [[nodiscard]] friend std::strong_ordering operator<=>(const Quantity& a, const Quantity& b) {
    if (a.negative_ != b.negative_)
      return a.negative_ ? std::strong_ordering::less : std::strong_ordering::greater;
    return a.negative_ ? b.nanos_ <=> a.nanos_ : a.nanos_ <=> b.nanos_;
  }

 private:
  friend class QuantityReader;

  Uint128 nanos_ = 0;  // magnitude in units of 10^-9
  bool negative_ = false;
  bool without_digits_ = false;
  bool capped_ = false;
  Format format_ = Format::decimal_si;
  std::string spelling_;  // the input where it is canonical, else empty
};

struct QuantityError {
  /// The three of Kubernetes (shape, no number, suffix), and what it would not notice: out of
  /// range.
  enum class Kind { format, numeric, suffix, range };
  Kind kind = Kind::format;
  std::string reason;  ///< a sentence without a final stop and without the text itself
  bool operator==(const QuantityError&) const = default;
};

/// `[+-] digits [. digits] suffix`, suffix one of n u m k M G T P E Ki Mi Gi Ti Pi Ei, none, or an
/// exponent e/E. Blanks are an error; the readers of JSON and YAML trim them first.
[[nodiscard]] std::expected<Quantity, QuantityError> read_quantity(std::string_view text);

/// The same with an error that is ready to print: `"64mb": unknown suffix "mb"; use ...`.
[[nodiscard]] Result<Quantity> parse_quantity(std::string_view text);

}  // namespace minirun
