#include "spec/kubernetes/quantity.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "spec/kubernetes/vectors_test.h"

namespace minirun {
namespace {

using nlohmann::json;

std::string format_name(Quantity::Format format) {
  switch (format) {
    case Quantity::Format::decimal_si:
      return "DecimalSI";
    case Quantity::Format::binary_si:
      return "BinarySI";
    case Quantity::Format::decimal_exponent:
      return "DecimalExponent";
  }
  return "";
}

std::string kind_name(QuantityError::Kind kind) {
  switch (kind) {
    case QuantityError::Kind::format:
      return "format";
    case QuantityError::Kind::numeric:
      return "numeric";
    case QuantityError::Kind::suffix:
      return "suffix";
    case QuantityError::Kind::range:
      return "range";
  }
  return "";
}

TEST(Quantity, Vectors) {
  ASSERT_GE(vectors().at("quantity").size(), 39U);
  for (const json& row : vectors().at("quantity")) {
    const auto text = row.at("in").get<std::string>();
    SCOPED_TRACE("\"" + text + "\"");
    const auto quantity = read_quantity(text);
    if (row.contains("error")) {
      ASSERT_FALSE(quantity.has_value());
      EXPECT_EQ(kind_name(quantity.error().kind), row.at("error").get<std::string>());
      continue;
    }
    ASSERT_TRUE(quantity.has_value()) << quantity.error().reason;
    // Where Kubernetes wraps, minirun has to say so.
    EXPECT_EQ(quantity->value().has_value(), !row.value("valueOverflows", false));
    EXPECT_EQ(quantity->milli_value().has_value(), !row.value("milliOverflows", false));
    if (quantity->value().has_value()) {
      EXPECT_EQ(quantity->value().value(), row.at("value").get<std::int64_t>());
    }
    if (quantity->milli_value().has_value()) {
      EXPECT_EQ(quantity->milli_value().value(), row.at("milliValue").get<std::int64_t>());
    }
    EXPECT_EQ(quantity->canonical(), row.at("canonical").get<std::string>());
    EXPECT_EQ(format_name(quantity->format()), row.at("format").get<std::string>());
  }
}

TEST(Quantity, OneClearSentence) {
  const std::pair<const char*, const char*> rows[] = {
      {"64mb", R"("64mb": unknown suffix "mb"; use 64M (10^6) or 64Mi (2^20))"},
      {"1K", R"("1K": unknown suffix "K"; use 1k (10^3) or 1Ki (2^10))"},
      {"1.5GiB", R"("1.5GiB": unknown suffix "GiB"; use 1.5Gi (2^30))"},
      {"1mi", R"("1mi": unknown suffix "mi"; use 1Mi (2^20))"},
      {"7Q", R"("7Q": unknown suffix "Q"; use k M G T P E or Ki Mi ... Ei)"},
      {"100B", R"("100B": unknown suffix "B"; bytes have no suffix)"},
      {"", R"("": is empty)"},
      {"1 ", R"("1 ": contains a blank)"},
      {"1,5", R"("1,5": "," is not allowed in a number; the decimal sign is ".")"},
      {"1_000", R"("1_000": "_" is not allowed in a number; the decimal sign is ".")"},
      {"0x10", R"("0x10": hexadecimal is not allowed; write a decimal number)"},
      {"NaN", R"("NaN": is not a number)"},
      {"inf", R"("inf": is not a number)"},
      {"1e3Ki", R"("1e3Ki": a suffix and an exponent cannot be combined; use one of them)"},
      {"1E+", R"("1E+": exponent "E+" has no number)"},
      {"1..2", R"("1..2": has two decimal points)"},
      {"Pi", R"("Pi": has a suffix but no number)"},
      {"1e30", R"("1e30": is larger than 3.4e29)"},
      // Kubernetes cuts the exponent to 32 bits and reads this as 1.
      {"1e4294967296", R"("1e4294967296": the exponent is out of range)"},
  };
  for (const auto& [text, message] : rows) {
    const auto quantity = parse_quantity(text);
    ASSERT_FALSE(quantity.has_value()) << text;
    EXPECT_EQ(to_string(quantity.error()), message);
  }
}

TEST(Quantity, OverflowIsAnErrorThatSaysSo) {
  EXPECT_EQ(to_string(parse_quantity("10P").value().milli_value().error()),
            "\"10P\": the value in thousandths does not fit in 64 bits (Kubernetes would silently "
            "wrap)");
  EXPECT_FALSE(parse_quantity("-12E").value().value().has_value());
}

TEST(Quantity, RoundsAwayFromZero) {
  EXPECT_EQ(parse_quantity("0.5m").value().milli_value().value(), 1);
  EXPECT_EQ(parse_quantity("1.0015").value().milli_value().value(), 1002);
  EXPECT_EQ(parse_quantity("3.001n").value().canonical(), "4n");
  EXPECT_EQ(parse_quantity("-8.8933791334").value().value().value(), -9);
  EXPECT_EQ(parse_quantity("400m").value().value().value(), 1);
  EXPECT_TRUE(parse_quantity("400m").value().fractional());
  EXPECT_TRUE(parse_quantity("0.5m").value().finer_than_milli());
  // A digit far behind the point still rounds up, with a binary suffix too.
  const std::string far = "1." + std::string(500, '0') + "1";
  EXPECT_EQ(parse_quantity(far).value().value().value(), 2);
  EXPECT_EQ(parse_quantity(far + "Ki").value().value().value(), 1025);
  EXPECT_EQ(parse_quantity("1e-1000000000").value().canonical(), "1e-9");
  EXPECT_EQ(parse_quantity("0e1000000000").value().canonical(), "0");
}

TEST(Quantity, CanonicalText) {
  const std::pair<const char*, const char*> rows[] = {
      {"1.5Gi", "1536Mi"}, {"1024Ki", "1Mi"},  {"1000", "1k"},
      {"0.1", "100m"},     {"-0", "0"},        {"-1.5", "-1500m"},
      {"1000E", "1000E"},  {"500Ki", "500Ki"}, {"512Mi", "512Mi"},
      {"1000e0", "1e3"},   {".5", "500m"},     {"1.", "1."},
      {"0.5Ki", "512"},    {"0Mi", "0"},       {"1000000Ki", "1000000Ki"},
  };
  for (const auto& [text, canonical] : rows)
    EXPECT_EQ(parse_quantity(text).value().canonical(), canonical) << text;
}

TEST(Quantity, ComparesByNumber) {
  EXPECT_EQ(parse_quantity("0.25").value(), parse_quantity("250m").value());
  EXPECT_EQ(parse_quantity("524288000").value(), parse_quantity("500Mi").value());
  EXPECT_LT(parse_quantity("-2").value(), parse_quantity("-1").value());
  EXPECT_LT(parse_quantity("-1").value(), parse_quantity("1n").value());
  EXPECT_GT(parse_quantity("1Gi").value(), parse_quantity("1G").value());
}

TEST(Quantity, FlagsWhatKubernetesAcceptsWithoutAWord) {
  EXPECT_TRUE(parse_quantity("Mi").value().without_digits());
  EXPECT_FALSE(parse_quantity("0Mi").value().without_digits());
  EXPECT_TRUE(parse_quantity("8Ei").value().capped());
  EXPECT_TRUE(parse_quantity(std::string(100, '9') + "Ei").value().capped());
  EXPECT_FALSE(parse_quantity("7Ei").value().capped());
}

TEST(Quantity, SumIsExact) {
  const Quantity half = parse_quantity("0.5m").value();
  EXPECT_EQ(half.plus(half).value().milli_value().value(), 1);
  EXPECT_EQ(parse_quantity("1Gi").value().plus(parse_quantity("512Mi").value()).value().canonical(),
            "1536Mi");
  EXPECT_EQ(parse_quantity("1").value().plus(parse_quantity("-1").value()).value(), Quantity{});
  const Quantity huge = parse_quantity("3e29").value();
  EXPECT_FALSE(huge.plus(huge).has_value());
  EXPECT_EQ(Quantity::from_milli(1500).canonical(), "1500m");
  EXPECT_EQ(Quantity::from_value(-2048, Quantity::Format::binary_si).canonical(), "-2Ki");
}

TEST(Quantity, PrintedTextReadsBackAsTheSameNumber) {
  std::mt19937_64 random(20260723);
  auto pick = [&random](std::size_t bound) { return static_cast<std::size_t>(random() % bound); };
  const char* const suffix[] = {"n", "u",  "m",  "",   "k",  "M",  "G",  "T",   "P",
                                "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "e-7", "E5"};
  for (int round = 0; round < 50000; ++round) {
    std::string text = pick(4) == 0 ? "-" : "";
    for (std::size_t i = 0, n = 1 + pick(9); i < n; ++i)
      text += static_cast<char>('0' + static_cast<int>(pick(10)));
    if (pick(2) == 0) {
      text += '.';
      for (std::size_t i = 0, n = pick(12); i < n; ++i)
        text += static_cast<char>('0' + static_cast<int>(pick(10)));
    }
    text += suffix[pick(std::size(suffix))];
    const auto quantity = parse_quantity(text);
    ASSERT_TRUE(quantity.has_value()) << text;
    const auto again = parse_quantity(quantity->canonical());
    ASSERT_TRUE(again.has_value()) << text << " printed as " << quantity->canonical();
    ASSERT_EQ(*again, *quantity) << text << " printed as " << quantity->canonical();
    ASSERT_EQ(again->canonical(), quantity->canonical()) << text;
  }
}

}  // namespace
}  // namespace minirun
