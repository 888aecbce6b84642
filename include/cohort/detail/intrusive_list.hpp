#pragma once

namespace cohort::detail {

/// A doubly linked list through its elements, which have `next`, `previous` and `linked`: append, remove and pop in
/// O(1), no allocation. Not thread-safe: its owner has a lock.
template <class T>
class IntrusiveList {
 public:
  [[nodiscard]] bool empty() const noexcept { return first_ == nullptr; }
  [[nodiscard]] T* front() const noexcept { return first_; }

  void push_back(T& element) noexcept {
    element.next = nullptr;
    element.previous = last_;
    element.linked = true;
    (last_ != nullptr ? last_->next : first_) = &element;
    last_ = &element;
  }

  void insert_before(T& position, T& element) noexcept {
    element.next = &position;
    element.previous = position.previous;
    element.linked = true;
    (position.previous != nullptr ? position.previous->next : first_) = &element;
    position.previous = &element;
  }

  /// Takes `element` out; false when it is not in.
  bool remove(T& element) noexcept {
    if (!element.linked) return false;
    (element.previous != nullptr ? element.previous->next : first_) = element.next;
    (element.next != nullptr ? element.next->previous : last_) = element.previous;
    element.linked = false;
    return true;
  }

  /// Takes the first element out; null when there is none.
  T* pop_front() noexcept {
    T* element = first_;
    if (element != nullptr) remove(*element);
    return element;
  }

 private:
  T* first_ = nullptr;
  T* last_ = nullptr;
};

}  // namespace cohort::detail
