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

template <class... T>
struct TypeList {};

/// The parameters of a function or of a class with one call operator; of others, like a generic lambda, nothing is known.
template <class F>
struct ParametersOf {
  using type = void;
};
template <class R, class... P>
struct ParametersOf<R (*)(P...)> {
  using type = TypeList<P...>;
};
template <class R, class... P>
struct ParametersOf<R (*)(P...) noexcept> : ParametersOf<R (*)(P...)> {};
// Of a member function, after the object that it is called for.
template <class C, class R, class... P>
struct ParametersOf<R (C::*)(P...)> {
  using type = TypeList<C, P...>;
  using without_object = TypeList<P...>;
};
template <class C, class R, class... P>
struct ParametersOf<R (C::*)(P...) const> : ParametersOf<R (C::*)(P...)> {};
template <class C, class R, class... P>
struct ParametersOf<R (C::*)(P...) noexcept> : ParametersOf<R (C::*)(P...)> {};
template <class C, class R, class... P>
struct ParametersOf<R (C::*)(P...) const noexcept> : ParametersOf<R (C::*)(P...)> {};
template <class F>
requires requires { typename ParametersOf<decltype(&F::operator())>::without_object; }
struct ParametersOf<F> {
  using type = typename ParametersOf<decltype(&F::operator())>::without_object;
};
template <class F>
using Parameters = typename ParametersOf<F>::type;

/// Whether a stored A can be passed as a P without a temporary that a reference would be left to.
template <class P, class A>
inline constexpr bool binds_directly =
    !std::is_reference_v<P> || std::is_convertible_v<A*, std::remove_reference_t<P>*>;
template <class P, class A>
inline constexpr bool binds_directly<P, std::reference_wrapper<A>> = binds_directly<P, A>;

/// What a decayed argument A is stored as: itself; but what is converted for a reference parameter is stored converted,
/// so that the reference, too, is good until the task ends.
template <class P, class A>
using Stored = std::conditional_t<!binds_directly<P, A> && std::is_convertible_v<A, std::remove_cvref_t<P>>,
                                  std::remove_cvref_t<P>, A>;

template <class Parameters, class... Args>
struct StoredAs {
  using type = TypeList<Args...>;  // parameters that are unknown, or have defaults
};
template <class... P, class... Args>
requires(sizeof...(P) == sizeof...(Args)) struct StoredAs<TypeList<P...>, Args...> {
  using type = TypeList<Stored<P, Args>...>;
};
template <class Token, class... P, class... Args>
requires(std::is_same_v<std::remove_cvref_t<Token>, std::stop_token> &&
         sizeof...(P) == sizeof...(Args)) struct StoredAs<TypeList<Token, P...>, Args...> {
  using type = TypeList<Stored<P, Args>...>;
};
/// The arguments of a call as they are stored, a TypeList.
template <class F, class... Args>
using StoredArguments = typename StoredAs<Parameters<std::decay_t<F>>, std::decay_t<Args>...>::type;

/// Whether a parameter of type P, given an argument that would be stored as A, ends up in the coroutine's own frame, with
/// nothing pointing outside that did not before, and without a copy that may throw.
template <class P, class A>
inline constexpr bool keeps_itself = (std::is_same_v<std::remove_cv_t<P>, A> &&
                                      std::is_nothrow_copy_constructible_v<A> &&
                                      std::is_nothrow_move_constructible_v<A>) ||
                                     std::conjunction_v<std::is_arithmetic<P>, std::is_arithmetic<A>>;
template <class P, class A>
inline constexpr bool keeps_itself<P&, std::reference_wrapper<A>> = std::is_convertible_v<A&, P&>;

template <class... P, class... Args>
[[nodiscard]] consteval bool keep_nothing(TypeList<P...>, TypeList<Args...>) {
  if constexpr (sizeof...(P) == sizeof...(Args)) {
    return (keeps_itself<P, Args> && ...);
  } else {
    return false;
  }
}

/// Whether F is a coroutine function that can be called straight away: nothing needs to be kept beside its own frame.
template <class F, class... Args>
[[nodiscard]] consteval bool calls_directly() {
  if constexpr (std::is_void_v<Parameters<F>> || !(std::is_pointer_v<F> || std::is_empty_v<F>)) {
    return false;
  } else if constexpr (!std::is_invocable_v<const F&, Args...>) {
    return false;
  } else if constexpr (!ResultOf<typename Call<F, Args...>::Returned>::is_task || Call<F, Args...>::takes_token) {
    return false;
  } else {
    return keep_nothing(Parameters<F>(), TypeList<Args...>());
  }
}

/// A task that throws `error`.
template <class R>
Task<R> fail_later(std::exception_ptr error) {
  std::rethrow_exception(std::move(error));
  co_await std::suspend_never();  // which makes it a coroutine
}

/// A coroutine that calls `f(args...)`: its own where that is all it takes, else one that keeps callable and
/// arguments.
template <class... Kept, class F, class... Args>
[[nodiscard]] auto make_task_keeping(TypeList<Kept...>, F&& f, Args&&... args) {
  using Function = std::decay_t<F>;
  if constexpr (calls_directly<Function, Kept...>()) {
    // What it throws before its coroutine exists is the task's, like all that it throws later.
    using Result = typename Call<Function, Kept...>::Result;
    try {
      return Task<Result>(std::invoke(std::forward<F>(f), std::forward<Args>(args)...));
    } catch (const std::bad_alloc&) {
      throw;
    } catch (...) {
      return fail_later<Result>(std::current_exception());
    }
  } else {
    return call_later<Function, Kept...>(std::forward<F>(f), std::forward<Args>(args)...);
  }
}
template <class F, class... Args>
[[nodiscard]] auto make_task(F&& f, Args&&... args) {
  return make_task_keeping(StoredArguments<F, Args...>(), std::forward<F>(f), std::forward<Args>(args)...);
}

}  // namespace cohort::detail
