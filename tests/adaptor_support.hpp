// What the tests of streams, waiting, combinators and cancellation share beyond support.hpp.
#pragma once

#include <atomic>  // for atomic
#include <cohort/cohort.hpp>
#include <cstddef>    // for ptrdiff_t
#include <fstream>    // for ifstream
#include <iterator>   // for default_sentinel_t
#include <optional>   // for optional
#include <stdexcept>  // for runtime_error
#include <string>     // for string
#include <utility>    // for move

#include "support.hpp"

// Clang before 16 cannot use the views of libstdc++: what needs them is left out there.
#if !defined(__clang__) || __clang_major__ >= 16
#define COHORT_TEST_HAS_VIEWS 1
#else
#define COHORT_TEST_HAS_VIEWS 0
#endif

namespace test {

/// Runs a coroutine lambda on the executor and blocks for its result. The lambda lives as long as the task does.
template <class Pool, class Body>
decltype(auto) run_on(cohort::BasicAsyncExecutor<Pool>& executor, Body body) {
  auto future = executor.submit(std::move(body));
  return std::move(future).get();
}

/// Something that tasks await, holding no thread, and a test opens.
class AsyncGate {
 public:
  void open() { promise_.set_result(); }
  [[nodiscard]] const cohort::AsyncFuture<void>& passed() const { return passed_; }

 private:
  cohort::AsyncPromise<void> promise_;
  cohort::AsyncFuture<void> passed_ = promise_.get_future();
};

/// A meeting point: nobody passes before `count` have arrived.
class Meeting {
 public:
  explicit Meeting(int count) : missing_(count) {}

  cohort::Task<> arrive() {
    if (missing_.fetch_sub(1) == 1) gate_.open();
    co_await gate_.passed();
  }

 private:
  std::atomic<int> missing_;
  AsyncGate gate_;
};

/// A value whose living instances are counted.
class Tracked {
 public:
  explicit Tracked(int number) : value(number) { ++live; }
  Tracked(const Tracked& other) : value(other.value) {
    ++live;
    ++copies;
  }
  Tracked(Tracked&& other) noexcept : value(other.value) { ++live; }
  Tracked& operator=(const Tracked&) = default;
  Tracked& operator=(Tracked&&) = default;
  ~Tracked() { --live; }

  int value;
  static inline std::atomic<int> live{0};
  static inline std::atomic<int> copies{0};
};

/// The numbers 0, 1, 2 …, up to `end` if it is not negative: a single-pass range that counts in `pulled` the
/// elements it has produced, and throws instead of producing number `broken`.
class Numbers {
 public:
  explicit Numbers(std::atomic<int>* pulled = nullptr, int end = -1, int broken = -1)
      : pulled_(pulled), end_(end), broken_(broken) {}

  class Iterator {
   public:
    using value_type = int;
    using difference_type = std::ptrdiff_t;
    using iterator_concept = std::input_iterator_tag;

    explicit Iterator(Numbers* numbers) : numbers_(numbers) { numbers_->produce(); }
    Iterator(Iterator&&) noexcept = default;
    Iterator& operator=(Iterator&&) noexcept = default;
    ~Iterator() = default;
    int operator*() const { return numbers_->current_; }
    Iterator& operator++() {
      ++numbers_->current_;
      numbers_->produce();
      return *this;
    }
    void operator++(int) { ++*this; }
    [[nodiscard]] bool finished() const { return numbers_->finished(); }
    friend bool operator==(const Iterator& at, std::default_sentinel_t) { return at.finished(); }

   private:
    Numbers* numbers_;
  };

  Iterator begin() { return Iterator(this); }
  [[nodiscard]] std::default_sentinel_t end() const { return {}; }

 private:
  [[nodiscard]] bool finished() const { return end_ >= 0 && current_ >= end_; }
  void produce() const {
    if (current_ == broken_) throw std::runtime_error("broken source");
    if (pulled_ && !finished()) ++*pulled_;
  }

  std::atomic<int>* pulled_;
  int end_;
  int broken_;
  int current_ = 0;
};

/// The number in a line of /proc/self/status, such as "VmRSS:" (in KiB) or "Threads:"; none without such a file.
inline std::optional<long> process_status(const std::string& key) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);)
    if (line.rfind(key, 0) == 0) return std::stol(line.substr(key.size()));
  return std::nullopt;
}

/// By how many KiB the process has grown since this was made; zero where that cannot be measured or means nothing.
class Growth {
 public:
  [[nodiscard]] long now() const {
    const std::optional<long> size = process_status("VmRSS:");
    return size && before_ && !sanitized ? *size - *before_ : 0;
  }

 private:
  std::optional<long> before_ = process_status("VmRSS:");
};

// What is done with the elements where that does not matter.
inline int identity(int x) { return x; }
inline cohort::Task<int> immediately(int x) { co_return x; }

}  // namespace test
