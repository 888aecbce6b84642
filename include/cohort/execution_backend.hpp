#pragma once

#include <cohort/async_future.hpp>
#include <cohort/detail/attempts.hpp>
#include <cohort/detail/call.hpp>
#include <cohort/errors.hpp>
#include <cohort/submit_options.hpp>
#include <cohort/task.hpp>

#include <any>         // for std::any
#include <chrono>      // for std::chrono::steady_clock
#include <concepts>    // for std::same_as
#include <cstddef>     // for std::size_t
#include <exception>   // for std::exception_ptr
#include <filesystem>  // for std::filesystem::path
#include <functional>  // for std::function
#include <map>         // for std::map
#include <memory>      // for std::shared_ptr
#include <optional>    // for std::optional
#include <string>      // for std::string
#include <utility>     // for std::move
#include <variant>     // for std::variant
#include <vector>      // for std::vector

namespace cohort {

/// A program to run as a child process.
///
/// Arguments, environment, input and output are bytes; nothing is quoted, split or decoded. The program gets the
/// descriptors 0, 1 and 2 and no other.
struct ExecutableTask {
  /// A path, or a name that is looked for in the `PATH` of this process. With `shell`, a command line for `/bin/sh`.
  std::string program;
  /// What follows the program's name; with `shell`, the command line's positional parameters, `$1` and on.
  std::vector<std::string> arguments = {};
  /// Whether `program` is a command line for `/bin/sh -c`.
  bool shell = false;
  /// Where it runs; empty: where this process is. A relative path in `program` is looked for from there.
  std::string working_directory = {};
  /// Its whole environment; nothing: that of this process, as it is at the start.
  std::optional<std::map<std::string, std::string>> environment = {};
  /// What it reads from its standard input; it reads an empty one by default.
  std::string standard_input = {};
  /// A file that its standard output goes to, emptied first; nothing: it is kept in memory.
  std::optional<std::string> stdout_path = {};
  /// The same for its standard error. The same path as `stdout_path` puts both in one file, in the order written.
  std::optional<std::string> stderr_path = {};
  /// How many bytes of each are kept in memory. The rest is read and dropped, and the result's `truncated` is set.
  std::size_t output_limit = std::size_t{16} << 20;
};

}  // namespace cohort
