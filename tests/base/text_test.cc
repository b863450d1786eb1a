#include "base/text.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <locale>
#include <sstream>
#include <string>

namespace hfr_tests {
namespace {

struct GroupedDigits : std::numpunct<char> {
  char do_thousands_sep() const override { return ','; }
  std::string do_grouping() const override { return "\3"; }
};

// What an application's locale does to its own streams.
TEST(Text, NumbersAreWrittenAsTheyAreReadWhateverTheLocale) {
  const std::locale before =
      std::locale::global(std::locale(std::locale::classic(), new GroupedDigits));
  std::ostringstream own;
  own << 299'999;
  const std::string text = hfr::cat(uint64_t{299'999}, " ", -40'123, " ", 1234.5);
  std::locale::global(before);
  EXPECT_EQ(own.str(), "299,999") << "the locale has no effect: the test shows nothing";
  EXPECT_EQ(text, "299999 -40123 1234.5");
}

TEST(Text, AWholeNumberIsNothingElse) {
  EXPECT_EQ(hfr::parse_whole<int>("-12"), -12);
  for (const char* text : {"", "12 ", " 12", "1,234", "12x", "99999999999"}) {
    EXPECT_FALSE(hfr::parse_whole<int>(text)) << text;
  }
}

}  // namespace
}  // namespace hfr_tests
