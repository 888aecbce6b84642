#pragma once

#include <cohort/async_future.hpp>
#include <cohort/detail/state.hpp>
#include <cohort/errors.hpp>

#include <exception>    // for std::exception_ptr
#include <type_traits>  // for std::is_void_v
#include <utility>      // for std::exchange

namespace cohort {

namespace detail {

/// Claims the right to complete a promise's future. *Throws*: InvalidStateError when it has been claimed.
void claim_promise(StateBase& state);
void complete_promise(StateBase& state, Outcome outcome) noexcept;
void complete_promise_with_current_exception(StateBase& state) noexcept;
void break_promise(StateBase& state) noexcept;

}  // namespace detail

/// The writing end of a future, for callbacks and foreign threads: the first result it is given is the future's.
///
///     cohort::AsyncPromise<int> promise;
///     cohort::AsyncFuture<int> future = promise.get_future();
///     start_something([promise = std::move(promise)](int value) mutable { promise.set_result(value); });
///
/// Dropped without a result, it leaves `std::future_error(broken_promise)` in the future. A future that is cancelled is
/// done as cancelled at once; a result set afterwards is refused.
///
/// *Thread safety*: every member may be called from any thread, several at once; moving and destroying may not.
/// *Lifetime*: independent of its futures.
template <class T = void>
class AsyncPromise {
 public:
  /// *Throws*: `std::bad_alloc`.
  AsyncPromise() : state_(&detail::State<T>::create(0)) {
    state_->role = detail::Role::root;
    state_->home = nullptr;
    state_->sequence_id = 0;
    state_->references.store(detail::StateBase::one_owner, std::memory_order_relaxed);  // relaxed: nobody knows it yet
  }
  AsyncPromise(AsyncPromise&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  AsyncPromise& operator=(AsyncPromise&& other) noexcept {
    AsyncPromise taken(std::move(other));
    std::swap(state_, taken.state_);
    return *this;
  }
  AsyncPromise(const AsyncPromise&) = delete;
  ~AsyncPromise() {
    if (state_ == nullptr) return;
    detail::break_promise(*state_);
    state_->drop(detail::StateBase::one_owner);
  }

  /// A handle to the result; as many as are asked for.
  /// *Throws*: `std::future_error(no_state)` after a move.
  [[nodiscard]] AsyncFuture<T> get_future() const {
    state().add_handle();
    return detail::FutureAccess::adopt<T>(*state_);
  }

  /// Completes the future with a value made from `value`; for void, without argument.
  ///
  /// When making the value throws, the future has that exception.
  /// *Throws*: InvalidStateError when there is a result already, or the future was cancelled; the first result stays.
  template <class Value = T>
  requires(!std::is_void_v<T>) void set_result(Value&& value) const {
    static_assert(std::is_constructible_v<T, Value&&>,
                  "cohort::AsyncPromise::set_result: the value does not convert to the promise's type");
    set(std::forward<Value>(value));
  }
  void set_result() const requires std::is_void_v<T> { set(); }

  /// Completes the future with an exception; a CancelledError cancels it. A null pointer is refused with
  /// `std::invalid_argument`.
  /// *Throws*: as set_result().
  void set_exception(std::exception_ptr exception) const {
    if (exception == nullptr) detail::throw_invalid_argument("exception must not be null");
    detail::claim_promise(state());
    try {
      std::rethrow_exception(std::move(exception));
    } catch (...) {
      detail::complete_promise_with_current_exception(*state_);
    }
  }

  /// Whether it has a state: not after a move.
  [[nodiscard]] bool valid() const noexcept { return state_ != nullptr; }

 private:
  [[nodiscard]] detail::StateBase& state() const {
    if (state_ == nullptr) [[unlikely]]
      detail::throw_no_state();
    return *state_;
  }

  template <class... Value>
  void set(Value&&... value) const {
    detail::claim_promise(state());
    try {
      detail::State<T>::of(*state_).result.emplace(std::forward<Value>(value)...);
    } catch (...) {
      detail::complete_promise_with_current_exception(*state_);
      return;
    }
    detail::complete_promise(*state_, detail::Outcome::value);
  }

  detail::StateBase* state_;
};

}  // namespace cohort
