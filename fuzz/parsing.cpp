// What parses: the options, the quoting and the templates of the example `parallel`, and durations of any kind.
#include "../examples/parallel/commands.hpp"
#include "../examples/parallel/options.hpp"
#include "input.hpp"

#include <cohort/duration.hpp>

#include <chrono>       // for duration
#include <cstring>      // for memcpy
#include <ratio>        // for milli
#include <stdexcept>    // for invalid_argument
#include <string>       // for string
#include <string_view>  // for string_view
#include <vector>       // for vector

using fuzz::require;

namespace {

/// What a shell makes of one word. Only what quoted() uses is understood.
std::string unquoted(std::string_view word) {
  std::string text;
  for (std::size_t i = 0; i < word.size(); ++i) {
    if (word[i] == '\'' || word[i] == '"') {
      const std::size_t end = word.find(word[i], i + 1);
      require(end != word.npos, "a quote that is opened is closed");
      const std::string_view inside = word.substr(i + 1, end - i - 1);
      if (word[i] == '"') require(inside == "'", "double quotes hold a single quote, and nothing that means something");
      text += inside;
      i = end;
    } else {
      require(std::string_view(" \t\n$`\\|&;<>()*?[]#~=%!{}").find(word[i]) == std::string_view::npos,
              "what means something to a shell is quoted");
      text += word[i];
    }
  }
  return text;
}

template <class Rep, class Period>
void try_duration(Rep count) {
  const std::chrono::duration<Rep, Period> duration(count);
  const cohort::Duration saturated = cohort::detail::saturate(duration);
  const long double exact = static_cast<long double>(count) * Period::num / Period::den * 1e9L;
  if (exact != exact) return;
  if (exact >= 9.3e18L) require(saturated == cohort::Duration::max(), "what is too long lasts as long as can be");
  if (exact <= -9.3e18L) require(saturated == cohort::Duration::min(), "what is too negative is as negative as can be");
  if (exact > -9e18L && exact < 9e18L) {
    const auto got = static_cast<long double>(saturated.count());
    const long double error = (exact < 0 ? -exact : exact) * 1e-17L;  // of this reckoning
    require(got >= exact - error && got <= exact + 1 + error, "a duration is rounded up, by less than a nanosecond");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  {
    const std::string word = quoted(bytes);
    require(unquoted(word) == bytes, "what is quoted is what it was");
  }
  // Words, each ended by a zero byte.
  std::vector<std::string_view> words;
  for (std::size_t begin = 0; begin < bytes.size();) {
    const std::size_t end = bytes.find('\0', begin);
    words.push_back(bytes.substr(begin, end - begin));
    begin = end == bytes.npos ? bytes.size() : end + 1;
  }
  try {
    const Options options = parse_options(words);
    require(options.jobs >= 1 && options.jobs <= 4096, "jobs are from 1 to 4096");
    require(options.attempts >= 0 && options.attempts <= 1'000'000, "attempts are from 0 to a million");
    require(!options.timeout || *options.timeout > cohort::Duration::zero(), "a timeout is positive");
    if (options.arguments) {
      Commands commands(options);
      std::size_t count = 0;
      while (const std::optional<std::string> command = commands.next({})) {
        const std::string argument = quoted((*options.arguments)[count++]);
        if (options.command.empty()) continue;
        require(command->find(argument) != command->npos, "the argument is in the command");
        if (options.command.find("{}") == options.command.npos) {
          require(*command == options.command + ' ' + argument, "without a {} it comes last");
        }
      }
      require(count == options.arguments->size(), "each argument has its command");
    }
  } catch (const std::invalid_argument& error) {
    require(error.what()[0] != '\0', "an error says what is wrong");
  }
  if (size >= 8) {
    std::int64_t whole = 0;
    double real = 0;
    std::memcpy(&whole, data, 8);
    std::memcpy(&real, data, 8);
    try_duration<std::int64_t, std::nano>(whole);
    try_duration<std::int64_t, std::milli>(whole);
    try_duration<std::int64_t, std::pico>(whole);
    try_duration<std::int64_t, std::ratio<86400>>(whole);
    try_duration<int, std::ratio<1>>(static_cast<int>(whole));
    try_duration<unsigned char, std::ratio<3600>>(static_cast<unsigned char>(whole));
    try_duration<double, std::ratio<1>>(real);
    try_duration<float, std::milli>(static_cast<float>(real));
  }
  return 0;
}
