#pragma once

#include <cohort/cohort.hpp>  // for CancelledError

#include <fcntl.h>     // for open, posix_fadvise
#include <poll.h>      // for poll
#include <sys/stat.h>  // for fstat
#include <unistd.h>    // for close, read

#include <atomic>        // for atomic
#include <cerrno>        // for errno
#include <cstddef>       // for size_t
#include <cstdint>       // for uint32_t, uint64_t
#include <memory>        // for make_unique_for_overwrite
#include <span>          // for span
#include <stop_token>    // for stop_token
#include <string>        // for string
#include <system_error>  // for error_code

#include "crc.hpp"  // for Crc

/// What there is to say about one file.
struct Checksum {
  std::string name;
  std::uint32_t crc = 0;
  std::uint64_t size = 0;
  std::error_code error;  // set: the file could not be read, and neither number means anything
};

/// An open file that can be read until somebody asks to stop, even if it is a pipe that nothing ever comes out of.
class File {
 public:
  explicit File(const std::string& name) {
    // Opened without O_NONBLOCK, a named pipe would hold the thread until somebody writes to it.
    descriptor_ = ::open(name.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (descriptor_ < 0) {
      fail();
      return;
    }
    struct stat status {};
    if (::fstat(descriptor_, &status) != 0) fail();
    may_block_ = !S_ISREG(status.st_mode);
    if (!may_block_) ::posix_fadvise(descriptor_, 0, 0, POSIX_FADV_SEQUENTIAL);
  }
  ~File() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  /// The next bytes; none at the end, after an error, and after a stop.
  std::span<const unsigned char> read(std::span<unsigned char> buffer, const std::stop_token& stop) {
    while (!error_ && !stop.stop_requested()) {
      if (may_block_) {
        // In slices, since a stop does not wake it.
        pollfd ready{descriptor_, POLLIN, 0};
        if (::poll(&ready, 1, 50) == 0) continue;
      }
      const ssize_t count = ::read(descriptor_, buffer.data(), buffer.size());
      if (count >= 0) return buffer.first(static_cast<std::size_t>(count));
      if (errno != EINTR && errno != EAGAIN) fail();
    }
    return {};
  }

  std::error_code error() const { return error_; }

 private:
  void fail() { error_ = {errno, std::system_category()}; }

  int descriptor_ = -1;
  bool may_block_ = false;
  std::error_code error_;
};

/// Reads a file to its end in chunks of 128 KiB, adding what it has read to `bytes_read`. Blocks the calling thread.
///
/// Throws: `CancelledError` when stopped. What is wrong with the file is in the result.
inline Checksum checksum(std::string name, const std::stop_token& stop, std::atomic<std::uint64_t>& bytes_read) {
  // One buffer for all the files that this thread reads one after the other.
  constexpr std::size_t chunk_size = 128 * 1024;
  thread_local const auto buffer = std::make_unique_for_overwrite<unsigned char[]>(chunk_size);

  Crc crc;
  File file(name);
  for (;;) {
    const auto chunk = file.read({buffer.get(), chunk_size}, stop);
    if (chunk.empty()) break;
    crc.update(chunk);
    bytes_read.fetch_add(chunk.size(), std::memory_order_relaxed);  // relaxed: a number to show, it orders nothing
  }
  if (stop.stop_requested()) throw cohort::CancelledError("checksum cancelled");
  return {std::move(name), crc.value(), crc.size(), file.error()};
}
