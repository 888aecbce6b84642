#pragma once

#include <cohort/detail/blocking_wait.hpp>
#include <cohort/detail/callback.hpp>
#include <cohort/detail/future_await.hpp>
#include <cohort/detail/state.hpp>
#include <cohort/duration.hpp>

#include <chrono>       // for std::chrono::duration
#include <cstddef>      // for std::size_t
#include <cstdint>      // for std::uint64_t
#include <exception>    // for std::exception_ptr
#include <functional>   // for std::hash, std::invoke
#include <memory>       // for std::unique_ptr
#include <stop_token>   // for std::stop_token
#include <type_traits>  // for std::decay_t
#include <utility>      // for std::exchange

namespace cohort {

namespace detail {
struct FutureAccess;
}

/// A handle to the result that one submitted task, or one AsyncPromise, will produce.
///
/// Copies share the result. Dropping every copy neither cancels nor leaks the task. A future is *done* when it has a
/// value, an exception, or is cancelled: exactly one of them, for ever. Read it in a coroutine with `co_await`,
/// elsewhere with `get()`:
///
///     cohort::AsyncFuture<int> future = executor.submit(work, 10);
///     const int& kept = co_await future;                  // looks at the stored value
///     int taken = co_await std::move(future);             // takes it; `future` is empty afterwards
///
/// Taking moves the value out when this is the last handle or `T` is move-only, and copies it otherwise.
///
/// *Throws*: every member of a handle without a result (default-constructed, moved from, taken) throws
/// `std::future_error(no_state)`, but for `valid()`, comparison, assignment and destruction. Reading throws the task's
/// exception; CancelledError when it was cancelled; InvalidStateError when another handle has taken a move-only value.
/// *Thread safety*: distinct handles, of one result too, are independent of each other on any threads; the const
/// members of one handle may be called by several threads at once. The value itself is the user's to protect.
/// *Cancellation*: `co_await` throws CancelledError when the awaiting task is asked to stop. The awaited task goes on.
/// *Lifetime*: may outlive its executor. What `co_await future` and `get()` return by reference lives as long as a
/// handle.
template <class T>
class AsyncFuture {
 public:
  using value_type = T;

  AsyncFuture() noexcept = default;
  AsyncFuture(const AsyncFuture& other) noexcept : state_(other.state_) {
    if (state_ != nullptr) state_->add_handle();
  }
  AsyncFuture(AsyncFuture&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  // Not one that takes its argument by value: for `future = {}` in a template Clang 14 does not destroy that.
  AsyncFuture& operator=(const AsyncFuture& other) noexcept {
    if (this != &other) *this = AsyncFuture(other);
    return *this;
  }
  AsyncFuture& operator=(AsyncFuture&& other) noexcept {
    AsyncFuture taken(std::move(other));
    std::swap(state_, taken.state_);
    return *this;
  }
  ~AsyncFuture() {
    if (state_ != nullptr) state_->drop(detail::StateBase::one_handle);
  }

  /// `co_await future`: `const T&` to the stored value, once done.
  [[nodiscard]] auto operator co_await() const& { return bind(nullptr); }
  /// `co_await std::move(future)`: the value itself.
  [[nodiscard]] auto operator co_await() && { return std::move(*this).bind(nullptr); }
  // The same on behalf of a task, which is what a Task calls.
  [[nodiscard]] auto bind(detail::StateBase* task) const& { return result().bind(task); }
  [[nodiscard]] auto bind(detail::StateBase* task) && { return std::move(*this).result().bind(task); }

  /// An awaitable for the value, as `co_await future` gives it.
  [[nodiscard]] detail::FutureResult<T, false> result() const& {
    return detail::FutureResult<T, false>(state(), nullptr);
  }
  [[nodiscard]] detail::FutureResult<T, true> result() && { return detail::FutureResult<T, true>(state(), &state_); }

  /// The same with a deadline, `timeout` from the call: TimeoutError when it passes first. The task goes on, the handle
  /// stays, and it may be called again. A timeout of zero polls.
  template <class Rep, class Period>
  [[nodiscard]] detail::TimedFutureResult<T, false> result(std::chrono::duration<Rep, Period> timeout) const& {
    return detail::TimedFutureResult<T, false>(state(), nullptr, detail::deadline_after(detail::saturate(timeout)));
  }
  template <class Rep, class Period>
  [[nodiscard]] detail::TimedFutureResult<T, true> result(std::chrono::duration<Rep, Period> timeout) && {
    return detail::TimedFutureResult<T, true>(state(), &state_, detail::deadline_after(detail::saturate(timeout)));
  }

  /// Blocks until done, and gives `const T&` to the stored value.
  ///
  /// On a worker of an executor the worker goes on working meanwhile: the awaited task is run right here when it has
  /// not started, and otherwise another thread takes the worker's place. So nested `submit(…).get()` cannot starve even
  /// a pool of one. In a coroutine prefer `co_await`.
  ///
  /// *Throws*: as reading does; `std::system_error` (resource_deadlock_would_occur) on the task's own future.
  decltype(auto) get() const& {
    detail::wait_until_done(state(), TimePoint::max());
    return detail::read_result<T>(*state_);
  }
  /// Blocks until done, and gives the value itself; the handle is empty afterwards.
  T get() && {
    detail::wait_until_done(state(), TimePoint::max());
    return detail::take_shared_result<T>(std::move(*this).release());
  }
  /// The same for at most `timeout`. *Throws*: TimeoutError also; the task goes on, the handle stays.
  template <class Rep, class Period>
  decltype(auto) get(std::chrono::duration<Rep, Period> timeout) const& {
    require_done_within(detail::saturate(timeout));
    return detail::read_result<T>(*state_);
  }
  template <class Rep, class Period>
  T get(std::chrono::duration<Rep, Period> timeout) && {
    require_done_within(detail::saturate(timeout));
    return detail::take_shared_result<T>(std::move(*this).release());
  }

  /// Blocks until done; on a worker as `get()` does.
  void wait() const { detail::wait_until_done(state(), TimePoint::max()); }
  /// Blocks until done or for `timeout`; whether it is done.
  template <class Rep, class Period>
  bool wait_for(std::chrono::duration<Rep, Period> timeout) const {
    return detail::wait_until_done(state(), detail::deadline_after(detail::saturate(timeout)));
  }

  /// Whether there is a value, an exception, or a cancellation.
  [[nodiscard]] bool done() const { return state().done(); }
  /// Whether the task has started and not ended.
  [[nodiscard]] bool running() const {
    return state().home != nullptr && state().own_scope.started() && !state().own_scope.start_cancelled() &&
           !state().done();
  }
  /// Whether it is done by having been cancelled.
  [[nodiscard]] bool cancelled() const { return state().done() && outcome() == detail::Outcome::cancelled; }

  /// The exception that it ended with; null while pending and on success. Never waits, never throws on a valid handle.
  [[nodiscard]] std::exception_ptr exception() const { return detail::exception_of(state()); }

  /// True when this call cancelled the task or asked it to stop, false when it was done already.
  ///
  /// Not started: done as cancelled at once, its arguments are destroyed, its body never runs. Running: its stop token
  /// is triggered, and it is cancelled when its body leaves by CancelledError; a body that ends anyhow else keeps that
  /// outcome. Stop callbacks run in the caller.
  bool cancel() const { return detail::cancel(state()); }

  /// From now on, a stop of `token` cancels it; a stop before now, at once.
  /// *Throws*: `std::bad_alloc`.
  void cancel_when(std::stop_token token) const { detail::cancel_when(state(), std::move(token)); }

  /// Calls `callback(AsyncFuture<T>)` once, when done: on the thread that completes it, in the order added, after those
  /// who wait have been woken; at once in the caller if done already.
  ///
  /// An exception from it goes to ExecutorOptions::on_unhandled_exception, and the next callback still runs.
  /// *Throws*: `std::bad_alloc`; what copying or moving the callback throws.
  template <class F>
  requires std::is_invocable_v < std::decay_t<F>
  &, AsyncFuture < T >> void add_done_callback(F&& callback) const {
    auto node =
        std::make_unique<Callback<std::decay_t<F>>>(std::forward<F>(callback), (static_cast<void>(state()), *this));
    if (state_->waiters.add(*node)) {
      static_cast<void>(node.release());
    } else {
      node->call();
    }
  }

  /// The submission number: 0, 1, 2, … per executor. Workers that have submitted more than 131072 tasks number the
  /// next ones in blocks, so that from there on numbers are unique but neither dense nor in order between threads.
  [[nodiscard]] std::uint64_t sequence_id() const { return state().sequence_id; }

  /// Whether there is a result to come or to have.
  [[nodiscard]] bool valid() const noexcept { return state_ != nullptr; }

  /// Whether two handles are of the same result.
  friend bool operator==(const AsyncFuture& a, const AsyncFuture& b) noexcept { return a.state_ == b.state_; }

 private:
  friend struct detail::FutureAccess;
  friend struct std::hash<AsyncFuture>;

  template <class F>
  struct Callback : detail::CallbackNode {
    template <class G>
    Callback(G&& made_from, AsyncFuture done) : callback(std::forward<G>(made_from)), future(std::move(done)) {
      run = [](detail::CallbackNode& node) noexcept {
        const std::unique_ptr<Callback> owned(&static_cast<Callback&>(node));
        owned->call();
      };
    }
    void call() noexcept {
      try {
        static_cast<void>(std::invoke(callback, future));
      } catch (...) {
        detail::report_callback_exception(future.state_->home);
      }
    }

    F callback;
    AsyncFuture future;
  };

  explicit AsyncFuture(detail::StateBase& adopted) noexcept : state_(&adopted) {}

  [[nodiscard]] detail::StateBase& state() const {
    if (state_ == nullptr) [[unlikely]]
      detail::throw_no_state();
    return *state_;
  }
  [[nodiscard]] detail::Outcome outcome() const noexcept {
    return state_->outcome.load(std::memory_order_relaxed);  // relaxed: after done(), which acquires
  }
  void require_done_within(Duration timeout) const {
    if (!detail::wait_until_done(state(), detail::deadline_after(timeout)))
      detail::throw_timeout("the future is not done yet");
  }
  [[nodiscard]] detail::StateBase& release() && noexcept { return *std::exchange(state_, nullptr); }

  detail::StateBase* state_ = nullptr;
};

namespace detail {

template <class T>
inline constexpr bool is_future_type = false;
template <class T>
inline constexpr bool is_future_type<AsyncFuture<T>> = true;
/// Whether T is an AsyncFuture, or a reference to one.
template <class T>
inline constexpr bool is_future = is_future_type<std::remove_cvref_t<T>>;

/// Reaches into an AsyncFuture, for the library.
struct FutureAccess {
  template <class T>
  [[nodiscard]] static AsyncFuture<T> adopt(StateBase& state) noexcept {
    return AsyncFuture<T>(state);
  }
  template <class T>
  [[nodiscard]] static StateBase& state(const AsyncFuture<T>& future) {
    return future.state();
  }
  template <class T>
  [[nodiscard]] static StateBase& release(AsyncFuture<T>&& future) {
    static_cast<void>(future.state());
    return std::move(future).release();
  }
};

}  // namespace detail
}  // namespace cohort

template <class T>
struct std::hash<cohort::AsyncFuture<T>> {
  [[nodiscard]] std::size_t operator()(const cohort::AsyncFuture<T>& future) const noexcept {
    return std::hash<const void*>()(future.state_);
  }
};
