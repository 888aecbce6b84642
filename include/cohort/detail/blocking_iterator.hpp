#pragma once

#include <cstddef>   // for std::ptrdiff_t
#include <iterator>  // for std::default_sentinel_t
#include <optional>  // for std::optional

namespace cohort::detail {

/// Iterates over a stream outside coroutines: each step blocks for the next value, which the iterator holds.
template <class Stream>
class BlockingIterator {
 public:
  using value_type = typename Stream::value_type;
  using difference_type = std::ptrdiff_t;

  explicit BlockingIterator(Stream& stream) : stream_(&stream), current_(stream.next_blocking()) {}

  [[nodiscard]] value_type& operator*() const noexcept { return *current_; }
  BlockingIterator& operator++() {
    current_ = stream_->next_blocking();
    return *this;
  }
  void operator++(int) { ++*this; }
  [[nodiscard]] friend bool operator==(const BlockingIterator& iterator, std::default_sentinel_t) noexcept {
    return !iterator.current_.has_value();
  }

 private:
  Stream* stream_;
  mutable std::optional<value_type> current_;
};

}  // namespace cohort::detail
