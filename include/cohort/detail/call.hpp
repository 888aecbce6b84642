#pragma once

#include <cohort/async_future.hpp>
#include <cohort/stop_token.hpp>
#include <cohort/task.hpp>

#include <coroutine>    // for std::suspend_never
#include <exception>    // for std::exception_ptr
#include <functional>   // for std::invoke, std::reference_wrapper
#include <new>          // for std::bad_alloc
#include <stop_token>   // for std::stop_token
#include <type_traits>  // for std::invoke_result_t
#include <utility>      // for std::forward

namespace cohort::detail {

/// How a stored callable is called with stored arguments: as std::jthread does, with a stop token first if it takes
/// one; with the arguments as rvalues if it takes them so, else as lvalues.
enum class CallForm { token_and_rvalues, token_and_lvalues, rvalues, lvalues, none };

template <class F, class... Args>
[[nodiscard]] consteval CallForm call_form() {
  if constexpr (std::is_invocable_v<F, std::stop_token, Args...>) {
    return CallForm::token_and_rvalues;
  } else if constexpr (std::is_invocable_v<F&, std::stop_token, Args&...>) {
    return CallForm::token_and_lvalues;
  } else if constexpr (std::is_invocable_v<F, Args...>) {
    return CallForm::rvalues;
  } else if constexpr (std::is_invocable_v<F&, Args&...>) {
    return CallForm::lvalues;
  } else {
    return CallForm::none;
  }
}

template <CallForm form, class F, class... Args>
decltype(auto) call_as(F& f, const std::stop_token& token, Args&... args) {
  if constexpr (form == CallForm::token_and_rvalues) {
    return std::invoke(static_cast<F&&>(f), token, static_cast<Args&&>(args)...);
  } else if constexpr (form == CallForm::token_and_lvalues) {
    return std::invoke(f, token, args...);
  } else if constexpr (form == CallForm::rvalues) {
    return std::invoke(static_cast<F&&>(f), static_cast<Args&&>(args)...);
  } else {
    return std::invoke(f, args...);
  }
}

/// The result of a task that calls something with this result: what is inside a Task or a future, and a plain value as
/// it is.
template <class R>
struct ResultOf {
  using type = std::conditional_t<std::is_lvalue_reference_v<R>, R, std::remove_cvref_t<R>>;
  static constexpr bool is_awaited = false;
  static constexpr bool is_task = false;
};
template <class T>
struct ResultOf<Task<T>> {
  using type = T;
  static constexpr bool is_awaited = true;
  static constexpr bool is_task = true;
};
template <class T>
struct ResultOf<AsyncFuture<T>> {
  using type = T;
  static constexpr bool is_awaited = true;
  static constexpr bool is_task = false;
};
template <>
struct ResultOf<void> {
  using type = void;
  static constexpr bool is_awaited = false;
  static constexpr bool is_task = false;
};

/// The traits of calling F with Args..., both as they are stored: decayed.
template <class F, class... Args>
struct Call {
  static constexpr CallForm form = call_form<F, Args...>();
  static_assert(form != CallForm::none,
                "cohort: the callable cannot be called with these arguments. They are copied, or moved, and passed as "
                "rvalues; pass "
                "std::ref(x) for a reference to something that outlives the task.");
  static constexpr bool takes_token = form == CallForm::token_and_rvalues || form == CallForm::token_and_lvalues;
  using Returned =
      decltype(call_as<form>(std::declval<F&>(), std::declval<const std::stop_token&>(), std::declval<Args&>()...));
  using Result = typename ResultOf<Returned>::type;
};

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
// GCC 12 thinks that a lambda written in a coroutine has no linkage, and warns of each frame that holds one.
#pragma GCC diagnostic ignored "-Wsubobject-linkage"
#endif
/// A task that calls `f(args...)`, which it keeps alive until it ends. F may be a reference, to something that lives
/// longer.
template <class F, class... Args>
Task<typename Call<std::remove_reference_t<F>, Args...>::Result> call_later(F f, Args... args) {
  using Traits = Call<std::remove_reference_t<F>, Args...>;
  std::stop_token token;
  if constexpr (Traits::takes_token) token = co_await get_stop_token();
  if constexpr (ResultOf<typename Traits::Returned>::is_awaited) {
    if constexpr (std::is_void_v<typename Traits::Result>) {
      co_await call_as<Traits::form>(f, token, args...);
    } else {
      co_return co_await call_as<Traits::form>(f, token, args...);
    }
  } else if constexpr (std::is_void_v<typename Traits::Result>) {
    call_as<Traits::form>(f, token, args...);
    co_return;
  } else {
    co_return call_as<Traits::form>(f, token, args...);
  }
}
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

/// The parameters of a function, or of a lambda without captures.
template <class F>
struct Parameters {
  static constexpr bool known = false;
};
template <class... P>
struct ParameterList {
  static constexpr bool known = true;
  template <class... Args>
  static consteval bool keep_nothing();
};
template <class R, class... P>
struct Parameters<R (*)(P...)> : ParameterList<P...> {};
template <class R, class... P>
struct Parameters<R (*)(P...) noexcept> : ParameterList<P...> {};
template <class C, class R, class... P>
struct Parameters<R (C::*)(P...) const> : ParameterList<P...> {};
template <class C, class R, class... P>
struct Parameters<R (C::*)(P...) const noexcept> : ParameterList<P...> {};
template <class F>
requires(std::is_empty_v<F>&& requires { &F::operator(); }) struct Parameters<F>
    : Parameters<decltype(&F::operator())> {
};

/// Whether a parameter of type P, given an argument that would be stored as A, ends up in the coroutine's own frame, with
/// nothing pointing outside that did not before, and without a copy that may throw.
template <class P, class A>
inline constexpr bool keeps_itself = (std::is_same_v<std::remove_cv_t<P>, A> &&
                                      std::is_nothrow_copy_constructible_v<A> &&
                                      std::is_nothrow_move_constructible_v<A>) ||
                                     (std::is_arithmetic_v<P> && std::is_arithmetic_v<A>);
template <class P, class A>
inline constexpr bool keeps_itself<P&, std::reference_wrapper<A>> = std::is_convertible_v<A&, P&>;

template <class... P>
template <class... Args>
consteval bool ParameterList<P...>::keep_nothing() {
  if constexpr (sizeof...(P) == sizeof...(Args)) {
    return (keeps_itself<P, Args> && ...);
  } else {
    return false;
  }
}

/// Whether F is a coroutine function that can be called straight away: nothing needs to be kept beside its own frame.
template <class F, class... Args>
[[nodiscard]] consteval bool calls_directly() {
  if constexpr (!Parameters<F>::known) {
    return false;
  } else if constexpr (!ResultOf<typename Call<F, Args...>::Returned>::is_task || Call<F, Args...>::takes_token) {
    return false;
  } else {
    return Parameters<F>::template keep_nothing<Args...>();
  }
}

/// A task that throws `error`.
template <class R>
Task<R> fail_later(std::exception_ptr error) {
  std::rethrow_exception(std::move(error));
  co_await std::suspend_never();  // which makes it a coroutine
}

/// A task that calls `f(args...)`: the coroutine's own where that is all it takes, else one that keeps callable and
/// arguments.
template <class F, class... Args>
[[nodiscard]] auto make_call(F&& f, Args&&... args) {
  using Function = std::decay_t<F>;
  if constexpr (calls_directly<Function, std::decay_t<Args>...>()) {
    // What it throws before its coroutine exists is the task's, like all that it throws later.
    using Result = typename Call<Function, std::decay_t<Args>...>::Result;
    try {
      return Task<Result>(std::invoke(std::forward<F>(f), std::forward<Args>(args)...));
    } catch (const std::bad_alloc&) {
      throw;
    } catch (...) {
      return fail_later<Result>(std::current_exception());
    }
  } else {
    return call_later<Function, std::decay_t<Args>...>(std::forward<F>(f), std::forward<Args>(args)...);
  }
}

}  // namespace cohort::detail
