#pragma once

namespace cohort::detail {

struct ScopeReport;
struct StateBase;

/// What a scheduler moves about: something to run once, linked through itself so that queueing never allocates.
///
/// The node lives in what it runs (a task's state, a waiting coroutine's frame), whose owner keeps it alive until it is
/// run, which may free it. One is made for every call of a coroutine: `next` is not set until it is needed.
struct Node {
  /// What the nodes of one kind do when they are told something; null for what they are never told.
  struct Kind {
    /// Its turn has come.
    void (*run)(Node&) noexcept = nullptr;
    /// A StopNode: its scope has been asked to stop.
    void (*stop)(Node&) noexcept = nullptr;
    /// A StopNode, for a snapshot: what waits here. Under the lock of the scope's list.
    void (*describe)(const Node&, ScopeReport&) noexcept = nullptr;
    /// A Timer: its time has come.
    void (*time_out)(Node&) noexcept = nullptr;
    /// A task's state: destroys what is left of it, and gives its block back.
    void (*end)(StateBase&) noexcept = nullptr;
  };

  void run() noexcept { kind->run(*this); }

  Node* next;  // in a queue, or among the timers of a slot, or in another list: in one at a time
  const Kind* kind;
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
