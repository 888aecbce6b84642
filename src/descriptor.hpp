#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>        // for errno
#include <string>        // for std::string
#include <system_error>  // for std::system_error
#include <utility>       // for std::exchange

namespace cohort::detail {

[[noreturn]] inline void throw_errno(int error, const std::string& what) {
  throw std::system_error(error, std::generic_category(), what);
}

// Owns a file descriptor; -1: none.
class Descriptor {
 public:
  Descriptor() noexcept = default;

  // Owns `number`, which is new, close-on-exec, and out of the way of 0, 1 and 2: these mean something to the
  // application and to the child even while they are closed. *Throws*: `std::system_error` when `number` is -1, an error
  // that errno tells.
  Descriptor(int number, const char* what) : number_(number) {
    if (number >= 0 && number < 3) {
      number_ = ::fcntl(number, F_DUPFD_CLOEXEC, 3);
      const int error = errno;
      ::close(number);
      errno = error;
    }
    if (number_ < 0) throw_errno(errno, what);
  }
  Descriptor(Descriptor&& other) noexcept : number_(other.release()) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    if (this != &other) {
      close();
      number_ = other.release();
    }
    return *this;
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() { close(); }

  [[nodiscard]] int number() const noexcept { return number_; }
  [[nodiscard]] int release() noexcept { return std::exchange(number_, -1); }
  void close() noexcept {
    // Not again after EINTR: the number may be somebody else's by then.
    if (number_ >= 0) ::close(release());
  }

 private:
  int number_ = -1;
};

// A pipe's ends; the first is read, and reading does not block.
struct Pipe {
  Descriptor reader;
  Descriptor writer;
};

inline Pipe open_pipe() {
  int ends[2];
#if defined(__APPLE__)  // has no pipe2
  const int made = ::pipe(ends);
  if (made == 0) {
    for (const int end : ends) ::fcntl(end, F_SETFD, FD_CLOEXEC);
  }
#else
  const int made = ::pipe2(ends, O_CLOEXEC);
#endif
  if (made != 0) throw_errno(errno, "cannot make a pipe");
  Pipe pipe;
  try {
    pipe.reader = Descriptor(std::exchange(ends[0], -1), "cannot make a pipe");
    pipe.writer = Descriptor(std::exchange(ends[1], -1), "cannot make a pipe");
  } catch (...) {
    if (ends[1] >= 0) ::close(ends[1]);
    throw;
  }
  ::fcntl(pipe.reader.number(), F_SETFL, O_NONBLOCK);
  return pipe;
}

}  // namespace cohort::detail
