#include <cohort/async_promise.hpp>
#include <cohort/detail/state.hpp>

#include <exception>  // for std::make_exception_ptr
#include <future>     // for std::future_error
#include <memory>     // for std::construct_at

namespace cohort::detail {

void claim_promise(StateBase& state) {
  if (!state.own_scope.try_start()) throw_promise_already_satisfied();
}

void complete_promise(StateBase& state, Outcome outcome) noexcept {
  state.outcome.store(outcome, std::memory_order_relaxed);  // relaxed: publish() makes it visible
  // The promise may be destroyed by those we tell, and its reference with it.
  state.add_owner();
  publish(state);
  state.drop(StateBase::one_owner);
}

void complete_promise_with_current_exception(StateBase& state) noexcept {
  store_current_exception(state);
  complete_promise(state, state.outcome.load(std::memory_order_relaxed));  // relaxed: own write
}

void break_promise(StateBase& state) noexcept {
  if (!state.own_scope.try_start()) return;
  try {
    std::construct_at(&state.error, std::make_exception_ptr(std::future_error(std::future_errc::broken_promise)));
  } catch (...) {
    std::construct_at(&state.error, std::current_exception());
  }
  complete_promise(state, Outcome::exception);
}

}  // namespace cohort::detail
