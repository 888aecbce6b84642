#pragma once

namespace cohort::detail {

/// What a scheduler moves about: something to run once, linked through itself so that queueing never allocates.
///
/// The node lives in what it runs (a task's state, a waiting coroutine's frame), whose owner keeps it alive until `run`
/// is called. `run` may free it. Both members are set by who queues it: one is made for every call of a coroutine.
struct Node {
  Node* next;
  void (*run)(Node&) noexcept;
};

/// A first-in, first-out list of nodes. Not thread-safe.
class NodeQueue {
 public:
  [[nodiscard]] bool empty() const noexcept { return first_ == nullptr; }

  /// Shows the nodes to `look`, until it returns false.
  template <class Look>
  void show(Look look) const noexcept {
    for (const Node* node = first_; node != nullptr && look(*node);) node = node->next;
  }

  void push(Node& node) noexcept {
    node.next = nullptr;
    (last_ != nullptr ? last_->next : first_) = &node;
    last_ = &node;
  }

  [[nodiscard]] Node* pop() noexcept {
    Node* node = first_;
    if (node != nullptr) {
      first_ = node->next;
      if (first_ == nullptr) last_ = nullptr;
    }
    return node;
  }

 private:
  Node* first_ = nullptr;
  Node* last_ = nullptr;
};

}  // namespace cohort::detail
