#pragma once

#include <cohort/detail/awaitable.hpp>
#include <cohort/detail/copyable.hpp>
#include <cohort/detail/scheduler.hpp>
#include <cohort/detail/state.hpp>
#include <cohort/detail/suspension.hpp>
#include <cohort/detail/thread_context.hpp>
#include <cohort/duration.hpp>
#include <cohort/errors.hpp>

#include <coroutine>    // for std::coroutine_handle
#include <exception>    // for std::rethrow_exception
#include <stop_token>   // for std::stop_token
#include <type_traits>  // for std::conditional_t
#include <utility>      // for std::exchange

namespace cohort::detail {

/// What reading a T without taking it gives.
template <class T>
struct ReadTypeOf {
  using type = const T&;
};
template <class T>
struct ReadTypeOf<T&> {
  using type = T&;
};
template <>
struct ReadTypeOf<void> {
  using type = void;
};
template <class T>
using ReadType = typename ReadTypeOf<T>::type;

[[noreturn]] void throw_outcome(StateBase& state, Outcome outcome);
[[nodiscard]] std::exception_ptr exception_of(const StateBase& state) noexcept;
void cancel_when(StateBase& state, std::stop_token token);

/// The value of a done future.
template <class T>
ReadType<T> read_result(StateBase& state) {
  const Outcome outcome = state.outcome.load(std::memory_order_seq_cst);
  if (outcome != Outcome::value) [[unlikely]]
    throw_outcome(state, outcome);
  return State<T>::of(state).result.get();
}

/// The value of a done future for one who gives up his handle, which this drops.
template <class T>
T take_shared_result(StateBase& state) {
  // Both: the last sees what those who dropped theirs did with the state, as in drop().
  if (state.references.load(std::memory_order_seq_cst) == StateBase::one_handle &&
      state.outcome.load(std::memory_order_seq_cst) == Outcome::value) [[likely]] {
    struct Free {
      ~Free() { State<T>::end(state, Outcome::value); }
      StateBase& state;
    } const end{state};
    return take_result<T>(state, Outcome::value);
  }
  struct Drop {
    ~Drop() { state.drop(StateBase::one_handle); }
    StateBase& state;
  } const drop{state};
  Outcome outcome = state.outcome.load(std::memory_order_seq_cst);
  if (outcome != Outcome::value) [[unlikely]]
    throw_outcome(state, outcome);
  if constexpr (std::is_void_v<T> || std::is_reference_v<T>) {
    return take_result<T>(state, Outcome::value);
  } else {
    T& value = State<T>::of(state).result.get();
    if constexpr (copyable<T>) {
      if (!state.last_handle()) return std::as_const(value);
    } else {
      // One of several takers moves the value, and the others see that it is gone.
      if (!state.last_handle() &&
          !state.outcome.compare_exchange_strong(outcome, Outcome::moved, std::memory_order_seq_cst)) {
        throw_outcome(state, outcome);
      }
    }
    return std::move(value);
  }
}

/// The end of an adopted root whose handle has been copied meanwhile: that of any root. Its owner's reference is dropped.
void end_adopted_for_all(const InlineAwait& await) noexcept;

/// The result of an adopted root, which has ended; and all that its end takes.
template <class T>
[[gnu::noinline]] T take_adopted_result_slowly(const InlineAwait& await) {
  StateBase& task = *await.task;
  if (!await.only_awaiter_knows()) {
    end_adopted_for_all(await);
    return take_shared_result<T>(task);
  }
  await.leave();
  task.destroy_ended_body();  // the callable and its arguments, before anybody sees the result
  struct End {
    ~End() { State<T>::end(task, outcome); }
    StateBase& task;
    const Outcome outcome;
  } const end{task, task.outcome.load(std::memory_order_relaxed)};  // relaxed: this thread's
  thread_context().counters->count_end_here(end.outcome);
  return take_result<T>(task, end.outcome);
}

/// The same, in a few instructions where nothing has to be destroyed.
template <class T>
T take_adopted_result(const InlineAwait& await) {
  if constexpr (State<T>::is_scalar) {
    StateBase& task = *await.task;
    FrameList& list = frame_list(task.frame_class);
    if (State<T>::ends_trivially(task) && await.only_awaiter_knows() && task.own_scope.empty() && list.has_room())
        [[likely]] {
      await.leave();
      thread_context().counters->count_end_here(Outcome::value);
      return State<T>::take_scalar(task, list);
    }
  }
  return take_adopted_result_slowly<T>(await);
}

/// Waits for a future, or runs it on the spot. The part that does not depend on the type of the result.
class FutureAwaiterBase : protected InlineAwait {
 public:
  FutureAwaiterBase(const FutureAwaiterBase&) = delete;
  FutureAwaiterBase& operator=(const FutureAwaiterBase&) = delete;

  [[nodiscard]] bool await_ready() const noexcept { return task->done() && !asked_to_stop(); }

  // Not inline: for so much code the coroutine would save more registers at each of its resumptions.
  std::coroutine_handle<> await_suspend(std::coroutine_handle<> handle);

 protected:
  /// The same where the awaited future is the awaiter's own.
  std::coroutine_handle<> adopt_or_wait(std::coroutine_handle<> handle);

  FutureAwaiterBase(StateBase& awaited, StateBase* parent_state) noexcept {
    task = &awaited;
    parent = parent_state;
  }
  ~FutureAwaiterBase() = default;

  void require_ready() const {
    if (wake_ != Wake::ready) [[unlikely]]
      throw_unless_ready(waited_ ? wait_.reason() : wake_, "the future is not done yet");
  }

  bool deaf_ = false;   // to a stop of the awaiting task
  bool timed_ = false;  // has a deadline: it is a TimedFutureAwaiterBase

 private:
  bool waited_ = false;
  Wake wake_ = Wake::ready;  // unless waited_: why it went on

  friend struct InlineAwait;
  struct Wait : Suspension, Waiter {
    explicit Wait(FutureAwaiterBase& self) noexcept : Suspension(self.parent, self.deadline()), awaiter(&self) {}
    FutureAwaiterBase* awaiter;
  };

  bool may_run_inline(const ThreadContext& context) const noexcept;
  static bool looks_elsewhere(const ThreadContext& context) noexcept;
  static bool goes_elsewhere(const ThreadContext& context) noexcept;
  bool may_adopt(const StateBase& awaited, const ThreadContext& context) const noexcept;
  std::coroutine_handle<> run_inline(StateBase& awaited, ThreadContext& context) noexcept;
  std::coroutine_handle<> adopt(StateBase& awaited, ThreadContext& context) noexcept;
  [[gnu::noinline]] std::coroutine_handle<> adopt_or_wait_slowly(std::coroutine_handle<> handle);
  std::coroutine_handle<> take_or_wait(std::coroutine_handle<> handle);
  std::coroutine_handle<> wait(std::coroutine_handle<> handle);
  [[nodiscard]] bool begins_to_wait(std::coroutine_handle<> handle);
  [[nodiscard]] Suspension::Registration begin_wait(std::coroutine_handle<> handle) noexcept;
  [[nodiscard]] TimePoint deadline() const noexcept;

  [[nodiscard]] bool asked_to_stop() const noexcept { return !deaf_ && detail::asked_to_stop(parent); }

  union {
    Wait wait_;  // made when it is needed
  };
};

/// The same with a deadline; none is TimePoint::max().
class TimedFutureAwaiterBase : public FutureAwaiterBase {
 protected:
  TimedFutureAwaiterBase(StateBase& awaited, StateBase* parent_state, TimePoint deadline) noexcept
      : FutureAwaiterBase(awaited, parent_state), deadline_(deadline) {
    timed_ = deadline != TimePoint::max();
  }
  ~TimedFutureAwaiterBase() = default;

  /// It is never taken from its queue: that could take longer than the deadline.
  std::coroutine_handle<> adopt_or_wait(std::coroutine_handle<> handle) { return await_suspend(handle); }

 private:
  friend class FutureAwaiterBase;
  TimePoint deadline_;
};

/// The awaiter of a future that it only reads: `const T&`. `Base` says whether it has a deadline.
template <class T, class Base>
class [[nodiscard]] ReadingAwaiter : public Base {
 public:
  template <class... Deadline>
  ReadingAwaiter(StateBase& state, StateBase**, StateBase* parent_state, Deadline... deadline) noexcept
      : Base(state, parent_state, deadline...) {}

  ReadType<T> await_resume() {
    this->require_ready();
    return read_result<T>(*this->task);
  }
};

/// The awaiter of a future that it empties, once there is a result: `T`.
template <class T, class Base>
class [[nodiscard]] ConsumingAwaiter : public Base {
 public:
  template <class... Deadline>
  ConsumingAwaiter(StateBase& state, StateBase** handle, StateBase* parent_state, Deadline... deadline) noexcept
      : Base(state, parent_state, deadline...), handle_(handle) {}

  std::coroutine_handle<> await_suspend(std::coroutine_handle<> handle) { return this->adopt_or_wait(handle); }
  T await_resume() {
    if (!this->adopted) this->require_ready();
    *handle_ = nullptr;
    return this->adopted ? take_adopted_result<T>(*this) : take_shared_result<T>(*this->task);
  }

 private:
  StateBase** handle_;
};

template <class T, bool Consumes, class Base>
using AwaiterOn = std::conditional_t<Consumes, ConsumingAwaiter<T, Base>, ReadingAwaiter<T, Base>>;
template <class T, bool Consumes>
using FutureAwaiter = AwaiterOn<T, Consumes, FutureAwaiterBase>;
template <class T, bool Consumes>
using TimedFutureAwaiter = AwaiterOn<T, Consumes, TimedFutureAwaiterBase>;

/// Waits until a future is done, whatever its outcome. To be awaited while there is a handle.
class [[nodiscard]] Settled {
 public:
  enum class Cancellable : bool { no, yes };

  class Awaiter : public TimedFutureAwaiterBase {
   public:
    Awaiter(StateBase& state, StateBase* parent_state, TimePoint deadline, Cancellable cancellable) noexcept
        : TimedFutureAwaiterBase(state, parent_state, deadline) {
      deaf_ = cancellable == Cancellable::no;
    }
    void await_resume() const { require_ready(); }
  };

  Settled(StateBase& state, TimePoint deadline, Cancellable cancellable = Cancellable::yes) noexcept
      : state_(&state), deadline_(deadline), cancellable_(cancellable) {}
  [[nodiscard]] Awaiter bind(StateBase* parent) const noexcept {
    return Awaiter(*state_, parent, deadline_, cancellable_);
  }

 private:
  StateBase* state_;
  TimePoint deadline_;
  Cancellable cancellable_;
};

/// What `result()` returns: to be awaited while the future that it came from is there.
template <class T, bool Consumes>
class [[nodiscard]] FutureResult {
 public:
  FutureResult(StateBase& state, StateBase** handle) noexcept : state_(&state), handle_(handle) {}
  [[nodiscard]] FutureAwaiter<T, Consumes> bind(StateBase* parent) const noexcept {
    return FutureAwaiter<T, Consumes>(*state_, handle_, parent);
  }
  [[nodiscard]] FutureAwaiter<T, Consumes> operator co_await() const noexcept { return bind(nullptr); }

 private:
  StateBase* state_;
  StateBase** handle_;
};

/// What `result(timeout)` returns.
template <class T, bool Consumes>
class [[nodiscard]] TimedFutureResult {
 public:
  TimedFutureResult(StateBase& state, StateBase** handle, TimePoint deadline) noexcept
      : state_(&state), handle_(handle), deadline_(deadline) {}
  [[nodiscard]] TimedFutureAwaiter<T, Consumes> bind(StateBase* parent) const noexcept {
    return TimedFutureAwaiter<T, Consumes>(*state_, handle_, parent, deadline_);
  }
  [[nodiscard]] TimedFutureAwaiter<T, Consumes> operator co_await() const noexcept { return bind(nullptr); }

 private:
  StateBase* state_;
  StateBase** handle_;
  TimePoint deadline_;
};

}  // namespace cohort::detail
