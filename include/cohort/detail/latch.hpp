#pragma once

#include <cohort/detail/state.hpp>
#include <cohort/detail/sync.hpp>
#include <cohort/detail/thread_context.hpp>

#include <atomic>     // for std::memory_order
#include <coroutine>  // for std::coroutine_handle
#include <cstddef>    // for std::size_t

namespace cohort::detail {

/// Several branches run at once, and their parent goes on when the last has ended. It lives in the parent's frame.
class Latch : public Node {
 public:
  static constexpr std::size_t none = static_cast<std::size_t>(-1);

  /// What the first branch to end is, and what the first to fail; `none` when there is none.
  [[nodiscard]] std::size_t first() const noexcept {
    return first_.load(std::memory_order_relaxed);
  }  // relaxed: all over
  [[nodiscard]] std::size_t first_failed() const noexcept { return first_failed_.load(std::memory_order_relaxed); }

  /// Where the parent runs.
  [[nodiscard]] Scheduler* scheduler() const noexcept { return scheduler_; }

 protected:
  Latch() = default;
  ~Latch() = default;
  Latch(const Latch&) = delete;
  Latch& operator=(const Latch&) = delete;

  friend std::coroutine_handle<> finish_branch(StateBase& state) noexcept;

  /// For `count` things to wait for, on behalf of `parent`.
  void begin(std::size_t count, std::coroutine_handle<> handle, Scheduler* scheduler, Scope* scope) noexcept;

  /// `count` things are over, at the end of a branch. Returns what to run next: the parent, when these were the last
  /// and it runs here.
  [[nodiscard]] std::coroutine_handle<> arrive(std::size_t count) noexcept;

  /// One thing is over that was not a branch: something that could have stopped them.
  void arrive_from_outside() noexcept;

  /// The branches, if they may be run one after the other where they were forked; else null.
  StateBase* const* branches_ = nullptr;
  std::size_t branch_count_ = 0;

  /// Called by the first branch to end. Returns how many other things are over with it.
  std::size_t (*on_first_)(Latch&) noexcept = nullptr;

 private:
  [[nodiscard]] StateBase* take_branch_after(std::size_t index) noexcept;

  sync::atomic<std::size_t> remaining_{0};
  sync::atomic<std::size_t> first_{none};
  sync::atomic<std::size_t> first_failed_{none};
  std::coroutine_handle<> parent_;
  Scheduler* scheduler_ = nullptr;
  Scope* scope_ = nullptr;
};

}  // namespace cohort::detail
