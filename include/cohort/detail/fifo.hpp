#pragma once

#include <cstddef>  // for std::ptrdiff_t, std::size_t
#include <utility>  // for std::exchange, std::move
#include <vector>   // for std::vector

namespace cohort::detail {

/// First in, first out, of things that hold nothing any more once they have been moved from. Unlike a `std::deque`, one that
/// is made empty or moved allocates nothing, and so cannot fail.
template <class T>
class Fifo {
 public:
  Fifo() noexcept = default;
  Fifo(Fifo&& other) noexcept : items_(std::move(other.items_)), first_(std::exchange(other.first_, 0)) {
    other.items_.clear();
  }
  Fifo& operator=(Fifo&& other) noexcept {
    Fifo taken(std::move(other));
    std::swap(items_, taken.items_);
    std::swap(first_, taken.first_);
    return *this;
  }
  Fifo(const Fifo&) = delete;
  ~Fifo() = default;

  [[nodiscard]] bool empty() const noexcept { return first_ == items_.size(); }
  [[nodiscard]] T& front() noexcept { return items_[first_]; }
  [[nodiscard]] auto begin() const noexcept { return items_.begin() + static_cast<std::ptrdiff_t>(first_); }
  [[nodiscard]] auto end() const noexcept { return items_.end(); }

  /// *Throws*: `std::bad_alloc`, and then it is as before.
  void push_back(T item) {
    if (items_.size() == items_.capacity() && first_ >= items_.size() - first_) {
      items_.erase(items_.begin(), items_.begin() + static_cast<std::ptrdiff_t>(first_));
      first_ = 0;
    }
    items_.push_back(std::move(item));
  }

  T pop_front() noexcept {
    T item = std::move(items_[first_++]);
    if (empty()) {
      items_.clear();
      first_ = 0;
    }
    return item;
  }

 private:
  std::vector<T> items_;
  std::size_t first_ = 0;  // those before it have been taken
};

}  // namespace cohort::detail
