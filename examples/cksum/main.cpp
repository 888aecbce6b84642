// cksum [--jobs N] PATH...
//
// Prints what the `cksum` of the core utilities prints for the same files, reading several of them at a time: checksum,
// size and name, a line each, in an order that does not depend on which was done first. Folders are walked.
//
// The worker threads read; the main thread alone prints, shows the progress and hears of signals, as three coroutines
// of which the first one to end ends the others. Nothing grows with the number of files: the walk is a lazy range, and
// map() never pulls more than `results_ahead` of its files before their turn to be printed.

#include <cohort/cohort.hpp>  // for AsyncExecutor, map, sync_wait, Task, when_any, yield

#include <unistd.h>  // for isatty

#include <cerrno>        // for errno
#include <charconv>      // for from_chars
#include <clocale>       // for setlocale
#include <cstddef>       // for size_t
#include <cstdio>        // for fflush, fputs, fwrite
#include <exception>     // for exception
#include <optional>      // for optional
#include <stdexcept>     // for invalid_argument
#include <stop_token>    // for stop_token
#include <string>        // for string
#include <string_view>   // for string_view
#include <system_error>  // for system_error
#include <utility>       // for move
#include <vector>        // for vector

#include "checksum.hpp"      // for checksum, Checksum
#include "interruption.hpp"  // for Interruption
#include "progress.hpp"      // for Progress
#include "quote.hpp"         // for quoted_name
#include "walk.hpp"          // for Entry, Walk

namespace {

constexpr const char* usage =
    "Usage: cksum [--jobs N] PATH...\n"
    "Print the POSIX checksum, the size and the name of each file, and of each file below each folder.\n"
    "\n"
    "  -j, --jobs N   read N files at a time (default: as many as there are hardware threads)\n"
    "  -h, --help     print this text\n"
    "\n"
    "Below a folder only regular files count, and symbolic links are not followed.\n";

constexpr std::size_t max_jobs = 256;
constexpr std::size_t results_ahead = 1024;

enum ExitStatus { all_read = 0, some_failed = 1, wrong_usage = 2 };

struct Options {
  std::size_t jobs = cohort::default_worker_count();
  bool help = false;
  std::vector<std::string> paths;
};

std::size_t parse_jobs(std::string_view text) {
  std::size_t jobs = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), jobs);
  if (error != std::errc() || end != text.data() + text.size() || jobs < 1 || jobs > max_jobs) {
    throw std::invalid_argument("--jobs must be a number from 1 to " + std::to_string(max_jobs) + ", not " +
                                quoted_name(text));
  }
  return jobs;
}

/// Throws: `std::invalid_argument`, with a text for the user.
Options parse_options(const std::vector<std::string_view>& arguments) {
  Options options;
  bool options_ended = false;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string_view argument = arguments[i];
    if (options_ended || !argument.starts_with('-')) {
      options.paths.emplace_back(argument);
    } else if (argument == "--") {
      options_ended = true;
    } else if (argument == "--help" || argument == "-h") {
      options.help = true;
    } else if (argument.starts_with("--jobs=")) {
      options.jobs = parse_jobs(argument.substr(argument.find('=') + 1));
    } else if (argument == "--jobs" || argument == "-j") {
      if (++i == arguments.size()) throw std::invalid_argument("--jobs needs a number");
      options.jobs = parse_jobs(arguments[i]);
    } else if (argument == "-") {
      throw std::invalid_argument("the standard input cannot be read");
    } else {
      throw std::invalid_argument("unknown option " + quoted_name(argument));
    }
  }
  if (options.paths.empty() && !options.help) throw std::invalid_argument("no file or folder given");
  return options;
}

void write_out(const std::string& text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) {
    throw std::system_error(errno, std::generic_category(), "write error");
  }
}

void flush_out() {
  if (std::fflush(stdout) != 0) throw std::system_error(errno, std::generic_category(), "write error");
}

void complain(const std::string& text) { std::fputs(("cksum: " + text + '\n').c_str(), stderr); }

cohort::Task<Checksum> read_file(Entry entry, Progress& progress) {
  const std::stop_token stop = co_await cohort::get_stop_token();
  if (entry.error) co_return Checksum{.name = std::move(entry.name), .error = entry.error};
  co_return checksum(std::move(entry.name), stop, progress.bytes);
}

cohort::Task<> print(cohort::ResultStream<Checksum> checksums, Progress& progress, ExitStatus& status) {
  while (std::optional<Checksum> file = co_await checksums.next()) {
    progress.hide();
    if (file->error) {
      flush_out();  // so that lines and complaints that end up in one place keep their order
      complain(quoted_name(file->name) + ": " + file->error.message());
      status = some_failed;
    } else {
      write_out(std::to_string(file->crc) + ' ' + std::to_string(file->size) + ' ' + file->name + '\n');
      ++progress.files;
    }
    co_await cohort::yield();  // next() does not suspend while there are results: let the others have their turn
  }
  flush_out();
}

cohort::Task<> interrupted(cohort::AsyncFuture<int> signal, int& status) {
  const int number = co_await signal;
  status = Interruption::exit_status(number);
}

/// Returns the exit status.
cohort::Task<int> print_checksums(cohort::AsyncExecutor& executor, std::vector<std::string> paths,
                                  cohort::AsyncFuture<int> signal, Progress& progress) {
  auto read = [&progress](Entry entry) { return read_file(std::move(entry), progress); };
  auto checksums = executor.map(cohort::MapOptions{.buffer_size = results_ahead}, read, Walk(std::move(paths)));

  ExitStatus status = all_read;
  int signal_status = 0;
  std::vector<cohort::Task<>> parts;
  parts.push_back(print(std::move(checksums), progress, status));
  parts.push_back(interrupted(std::move(signal), signal_status));
  if (::isatty(STDERR_FILENO) != 0) parts.push_back(progress.show());
  const auto first = co_await cohort::when_any(std::move(parts));
  co_return first.index == 0 ? status : signal_status;
}

}  // namespace

int main(int argc, char** argv) {
  std::setlocale(LC_ALL, "");  // for what quoted_name() takes for printable
  Options options;
  try {
    options = parse_options({argv + 1, argv + argc});
  } catch (const std::invalid_argument& error) {
    complain(error.what());
    std::fputs(usage, stderr);
    return wrong_usage;
  }
  try {
    if (options.help) {
      write_out(usage);
      flush_out();
      return all_read;
    }
    Interruption interruption;
    Progress progress;  // outlives the executor, whose last readers may still count
    cohort::AsyncExecutor executor(options.jobs);
    return cohort::sync_wait(print_checksums(executor, std::move(options.paths), interruption.signal(), progress));
  } catch (const std::exception& error) {
    complain(error.what());
    return some_failed;
  }
}
