#pragma once

#include <cohort/detail/awaitable.hpp>
#include <cohort/detail/latch.hpp>
#include <cohort/detail/state.hpp>
#include <cohort/detail/suspension.hpp>

#include <coroutine>  // for std::coroutine_handle
#include <cstddef>    // for std::size_t

namespace cohort::detail {

/// Runs several tasks at once, as children of the task that awaits this; ends when all have. The tasks stay where they
/// are.
class [[nodiscard]] Branches : protected Latch {
 public:
  Branches(const Branches&) = delete;
  Branches& operator=(const Branches&) = delete;

  [[nodiscard]] bool await_ready() const noexcept { return count_ == 0; }
  COHORT_SUSPEND_OUT_OF_LINE std::coroutine_handle<> await_suspend(std::coroutine_handle<> handle) {
    return start(handle);
  }

 protected:
  Branches(StateBase* const* states, std::size_t count, StateBase& parent, bool first_ends_all) noexcept
      : states_(states), count_(count), parent_task_(&parent), first_ends_all_(first_ends_all) {}
  ~Branches() = default;

  StateBase* const* states_;
  std::size_t count_;
  StateBase* parent_task_;

 private:
  struct StopSource : StopNode {
    Branches* owner;
  };

  std::coroutine_handle<> start(std::coroutine_handle<> handle);
  void stop_all() noexcept;
  static std::size_t first_ended(Latch& latch) noexcept;

  bool first_ends_all_;
  StopSource stop_;
};

/// `co_await AllOf(states, count)`: all of them, in the parent's scope; then the first exception, if there was one.
struct [[nodiscard]] AllOf {
  class Awaiter : public Branches {
   public:
    Awaiter(StateBase* const* states, std::size_t count, StateBase& parent) noexcept
        : Branches(states, count, parent, false) {}
    void await_resume() const;
  };

  AllOf(StateBase* const* all, std::size_t how_many) noexcept : states(all), count(how_many) {}
  [[nodiscard]] Awaiter bind(StateBase* parent) const noexcept { return Awaiter(states, count, *parent); }

  StateBase* const* states;
  std::size_t count;
};

/// `co_await FirstOf(states, count)`: all of them, each in a scope of its own; the first to end has the others asked to
/// stop. Gives its index.
struct [[nodiscard]] FirstOf {
  class Awaiter : public Branches {
   public:
    Awaiter(StateBase* const* states, std::size_t count, StateBase& parent) noexcept
        : Branches(states, count, parent, true) {}
    [[nodiscard]] std::size_t await_resume() const noexcept { return first(); }
  };

  FirstOf(StateBase* const* all, std::size_t how_many) noexcept : states(all), count(how_many) {}
  [[nodiscard]] Awaiter bind(StateBase* parent) const noexcept { return Awaiter(states, count, *parent); }

  StateBase* const* states;
  std::size_t count;
};

}  // namespace cohort::detail
