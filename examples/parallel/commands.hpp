#pragma once

#include <fcntl.h>   // for open
#include <poll.h>    // for poll
#include <unistd.h>  // for close, read

#include <cerrno>        // for errno
#include <cstddef>       // for size_t
#include <optional>      // for optional
#include <stop_token>    // for stop_token
#include <string>        // for string
#include <string_view>   // for string_view
#include <system_error>  // for system_error
#include <utility>       // for move

#include "options.hpp"  // for Options

/// A text as one word of a shell's command line, quoted as GNU parallel does it.
inline std::string quoted(std::string_view text) {
  constexpr std::string_view harmless = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.+/";
  if (text.empty()) return "''";
  if (text.find_first_not_of(harmless) == text.npos) return std::string(text);
  std::string result = "'";
  for (const char c : text) {
    if (c == '\'') {
      result += "'\"'\"'";
    } else {
      result += c;
    }
  }
  result += '\'';
  // Nothing between quotes can go.
  if (text.ends_with('\'')) result.resize(result.size() - 2);
  if (text.starts_with('\'')) result.erase(0, 2);
  return result;
}

/// The lines of a file, read until somebody asks to stop, even from a pipe that nothing ever comes out of.
class Lines {
 public:
  /// Throws: `std::system_error`; so does next().
  explicit Lines(const std::string& file) : name_(file.empty() ? "the standard input" : file) {
    if (file.empty()) return;
    descriptor_ = ::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // or a named pipe would hold us here
    if (descriptor_ < 0) throw std::system_error(errno, std::generic_category(), "cannot open " + name_);
  }
  ~Lines() {
    if (descriptor_ > 0) ::close(descriptor_);
  }
  Lines(const Lines&) = delete;
  Lines& operator=(const Lines&) = delete;

  /// The next line; nothing at the end. Blocks until there is one, or a stop.
  std::optional<std::string> next(const std::stop_token& stop) {
    std::string line;
    for (bool more = true; more; more = fill(stop)) {
      const std::size_t end = buffer_.find('\n', begin_);
      line.append(buffer_, begin_, end - begin_);
      begin_ = end == buffer_.npos ? buffer_.size() : end + 1;
      if (end != buffer_.npos) return line;
    }
    if (line.empty() || stop.stop_requested()) return std::nullopt;
    return line;  // the last one may lack its newline
  }

 private:
  bool fill(const std::stop_token& stop) {
    buffer_.resize(std::size_t{1} << 16);
    begin_ = 0;
    ssize_t count = -1;
    while (count < 0 && !stop.stop_requested()) {
      pollfd ready{descriptor_, POLLIN, 0};
      if (::poll(&ready, 1, 50) == 0) continue;  // in slices, since a stop does not wake it
      count = ::read(descriptor_, buffer_.data(), buffer_.size());
      if (count < 0 && errno != EINTR && errno != EAGAIN) {
        throw std::system_error(errno, std::generic_category(), "cannot read " + name_);
      }
    }
    buffer_.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
    return count > 0;
  }

  std::string name_;
  int descriptor_ = 0;
  std::string buffer_;
  std::size_t begin_ = 0;
};

/// The command lines, one after the other.
class Commands {
 public:
  explicit Commands(const Options& options) : options_(options) {
    if (!options.arguments) lines_.emplace(options.file);
  }

  /// The next one; nothing at the end and after a stop. Blocks. Throws: `std::system_error`.
  std::optional<std::string> next(const std::stop_token& stop) {
    std::optional<std::string> argument;
    if (stop.stop_requested()) return argument;
    if (lines_) {
      argument = lines_->next(stop);
    } else if (next_ < options_.arguments->size()) {
      argument = (*options_.arguments)[next_++];
    }
    if (argument && !options_.command.empty()) argument = insert(quoted(*argument));
    return argument;
  }

 private:
  std::string insert(const std::string& argument) const {
    const std::string& command = options_.command;
    std::string result;
    std::size_t copied = 0;
    for (std::size_t at = 0; (at = command.find("{}", copied)) != command.npos; copied = at + 2) {
      result.append(command, copied, at - copied).append(argument);
    }
    if (copied == 0 && !command.starts_with("{}")) return command + ' ' + argument;
    return result.append(command, copied);
  }

  const Options& options_;
  std::optional<Lines> lines_;
  std::size_t next_ = 0;
};
