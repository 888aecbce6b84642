#pragma once

#include <cohort/cohort.hpp>  // for default_worker_count, Duration

#include <charconv>      // for from_chars
#include <chrono>        // for duration, duration_cast
#include <cstddef>       // for size_t
#include <optional>      // for optional
#include <stdexcept>     // for invalid_argument
#include <string>        // for string
#include <string_view>   // for string_view
#include <system_error>  // for errc
#include <vector>        // for vector

/// What is to happen when a job fails for good.
enum class Halt { never, soon, now };

struct Options {
  std::string command;                                // empty: the arguments are the command lines
  std::optional<std::vector<std::string>> arguments;  // nothing: the lines of the input are
  std::string file;                                   // empty: the standard input
  std::size_t jobs = cohort::default_worker_count();
  int attempts = 1;
  std::optional<cohort::Duration> timeout;
  Halt halt = Halt::never;
  std::string joblog;
  bool keep_order = false;
  bool dry_run = false;
  bool bar = false;
  bool help = false;
};

inline constexpr const char* usage =
    "Usage: parallel [OPTION]... [COMMAND [ARGUMENT]...] [::: ARGUMENT...]\n"
    "Run COMMAND once for each ARGUMENT, several at a time, each by /bin/sh. {} in\n"
    "COMMAND stands for the argument, quoted for the shell; without a {} it comes\n"
    "last. Without ::: the arguments are the lines of the standard input; without\n"
    "COMMAND they are command lines. The output of a job is printed when it ends.\n"
    "\n"
    "  -j, --jobs N         run N jobs at a time (default: one per hardware thread)\n"
    "  -k, --keep-order     print the outputs in the order of the input\n"
    "  -a, --arg-file FILE  read the lines of FILE, not of the standard input\n"
    "      --retries N      run a job that fails up to N times in all; 0: no limit\n"
    "      --timeout SECS   kill what takes longer, fractions allowed; it has failed\n"
    "      --halt WHEN      after a failure start no more jobs; WHEN is \"soon\": let\n"
    "                       the others end, or \"now\": kill them; default \"never\"\n"
    "      --joblog FILE    write a line about each job that ended\n"
    "      --dry-run        print the command lines, run nothing\n"
    "      --bar            show the progress, on a terminal\n"
    "  -h, --help           print this text\n"
    "\n"
    "Exit status: how many jobs failed, 101 if more than 100; with --halt, that of\n"
    "the first to fail; 255 after an error. Ctrl-C once: starts no more jobs and\n"
    "waits for those that run; twice: kills them; then 130. SIGTERM kills at once.\n";

/// Throws: `std::invalid_argument`, with a text for the user. So do those below.
template <class Number>
Number parse_number(std::string_view name, std::string_view text, Number least, Number most) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  // Not "number < least || …": that would let NaN pass.
  if (error == std::errc() && end == text.data() + text.size() && number >= least && number <= most) return number;
  throw std::invalid_argument(std::string(name) + " must be a number from " + std::to_string(least) + " to " +
                              std::to_string(most) + ", not \"" + std::string(text) + '"');
}

inline cohort::Duration parse_timeout(std::string_view name, std::string_view text) {
  const std::chrono::duration<double> seconds(parse_number(name, text, 0.001, 1e9));
  return std::chrono::duration_cast<cohort::Duration>(seconds);
}

inline Halt parse_halt(std::string_view text) {
  if (text == "never") return Halt::never;
  if (text == "soon" || text == "soon,fail=1") return Halt::soon;
  if (text == "now" || text == "now,fail=1") return Halt::now;
  throw std::invalid_argument("--halt must be now, soon or never, not \"" + std::string(text) + '"');
}

/// COMMAND and what follows.
inline void parse_command(const std::vector<std::string_view>& words, std::size_t next, Options& options) {
  for (; next < words.size(); ++next) {
    const std::string_view word = words[next];
    if (word == "::::" || word == ":::+" || word == "::::+" || (word == ":::" && options.arguments)) {
      throw std::invalid_argument("one ::: and no " + std::string(word) + ": there is one list of arguments only");
    }
    if (word == ":::") {
      options.arguments.emplace();
    } else if (options.arguments) {
      options.arguments->emplace_back(word);
    } else {
      if (!options.command.empty()) options.command += ' ';
      options.command += word;
    }
  }
  if (options.arguments && !options.file.empty()) {
    throw std::invalid_argument("--arg-file and :::: there is one list of arguments only");
  }
}

inline Options parse_options(const std::vector<std::string_view>& words) {
  Options options;
  std::size_t i = 0;
  for (; i < words.size() && words[i].starts_with('-') && words[i] != "-"; ++i) {
    if (words[i] == "--") {
      ++i;
      break;
    }
    // "--jobs=2" and "-j2" are "--jobs 2" and "-j 2".
    std::string_view name = words[i];
    std::optional<std::string_view> attached;
    if (const std::size_t end = name.starts_with("--") ? name.find('=') : 2; end < name.size()) {
      attached = name.substr(name[end] == '=' ? end + 1 : end);
      name = name.substr(0, end);
    }
    const auto value = [&] {
      if (!attached && ++i == words.size()) throw std::invalid_argument(std::string(name) + " needs a value");
      const std::string_view text = attached.value_or(words[attached ? 0 : i]);
      attached.reset();
      return text;
    };
    if (name == "-j" || name == "--jobs") {
      options.jobs = parse_number<std::size_t>(name, value(), 1, 4096);
    } else if (name == "-a" || name == "--arg-file") {
      options.file = value();
      if (options.file.empty()) throw std::invalid_argument("--arg-file needs the name of a file");
    } else if (name == "--retries") {
      options.attempts = parse_number(name, value(), 0, 1'000'000);
    } else if (name == "--timeout") {
      options.timeout = parse_timeout(name, value());
    } else if (name == "--halt") {
      options.halt = parse_halt(value());
    } else if (name == "--joblog") {
      options.joblog = value();
    } else if (name == "-k" || name == "--keep-order") {
      options.keep_order = true;
    } else if (name == "--dry-run") {
      options.dry_run = true;
    } else if (name == "--bar") {
      options.bar = true;
    } else if (name == "-h" || name == "--help") {
      options.help = true;
    } else {
      throw std::invalid_argument("unknown option " + std::string(words[i]));
    }
    if (attached) throw std::invalid_argument(std::string(name) + " takes no value");
  }
  parse_command(words, i, options);
  return options;
}
