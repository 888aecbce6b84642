#pragma once

#include <cohort/detail/call.hpp>
#include <cohort/detail/state.hpp>
#include <cohort/task.hpp>

#include <atomic>       // for std::memory_order
#include <memory>       // for std::destroy_at
#include <new>          // for placement new
#include <stop_token>   // for std::stop_token
#include <tuple>        // for std::tuple
#include <type_traits>  // for std::is_trivially_destructible_v
#include <utility>      // for std::exchange, std::forward

namespace cohort::detail {

/// A task to be submitted, a coroutine or a plain call; not to be awaited.
template <class T>
class [[nodiscard]] Submission {
 public:
  Submission(Task<T>&& task) noexcept : state_(TaskAccess::release(task)) {}  // NOLINT: not explicit, since it is one
  /// Of a plain call, that stands behind its state.
  explicit Submission(StateBase& call) noexcept : state_(&call) {}
  Submission(Submission&& other) noexcept : state_(other.release()) {}
  Submission& operator=(Submission&&) = delete;
  ~Submission() {
    if (state_ != nullptr) State<T>::drop(*state_);
  }

  [[nodiscard]] StateBase* state() const noexcept { return state_; }
  StateBase* release() noexcept { return std::exchange(state_, nullptr); }

 private:
  StateBase* state_;
};

/// A call of a plain function, kept with what it needs until its task ends.
template <class F, class... Args>
class KeptCall : PlainCall {
  using Traits = Call<F, Args...>;
  using Result = typename Traits::Result;

 public:
  template <class G, class... Given>
  [[nodiscard]] static Submission<Result> submission_of(G&& f, Given&&... args) {
    static_assert(alignof(KeptCall) <= frame_alignment);
    StateBase& task = State<Result>::create(sizeof(KeptCall));
    try {
      ::new (static_cast<void*>(&task + 1)) KeptCall(std::forward<G>(f), std::forward<Given>(args)...);
    } catch (...) {
      State<Result>::end(task);
      throw;
    }
    task.is_call = true;
    task.arguments_trivial = std::is_trivially_destructible_v<F> && (std::is_trivially_destructible_v<Args> && ...);
    return Submission<Result>(task);
  }

 private:
  template <class G, class... Given>
  explicit KeptCall(G&& f, Given&&... args)
      : PlainCall{&act}, f_(std::forward<G>(f)), arguments_(std::forward<Given>(args)...) {}

  static void act(StateBase& task, Do what) noexcept {
    auto& self = static_cast<KeptCall&>(task.call());
    if (what == Do::destroy) {
      std::destroy_at(&self);
      return;
    }
    try {
      self.call(task);
    } catch (...) {
      State<Result>::discard_value(task);
      store_current_exception(task);
    }
  }

  void call(StateBase& task) {
    std::stop_token token;
    if constexpr (Traits::takes_token) token = task.own_scope.token();
    const auto call_it = [&](Args&... args) -> decltype(auto) { return call_as<Traits::form>(f_, token, args...); };
    if constexpr (std::is_void_v<Result>) {
      std::apply(call_it, arguments_);
      note_value(task);
    } else {
      // In one: the destructor of what was returned may throw, and then the value goes.
      State<Result>::of(task).result.emplace(std::apply(call_it, arguments_)), note_value(task);
    }
  }

  static void note_value(StateBase& task) noexcept {
    task.outcome.store(Outcome::value, std::memory_order_relaxed);  // relaxed: publish() or the same thread
  }

  F f_;
  [[no_unique_address]] std::tuple<Args...> arguments_;
};

/// Whether a call is one of a plain function, which can be kept in a task's block.
template <class F, class... Args>
[[nodiscard]] consteval bool is_plain_call() {
  if constexpr (ResultOf<typename Call<F, Args...>::Returned>::is_awaited) {
    return false;
  } else {
    return alignof(F) <= frame_alignment && ((alignof(Args) <= frame_alignment) && ...);
  }
}

/// A task that calls `f(args...)`, to be submitted.
template <class... Kept, class F, class... Args>
[[nodiscard]] auto make_call_keeping(TypeList<Kept...> kept, F&& f, Args&&... args) {
  using Function = std::decay_t<F>;
  if constexpr (is_plain_call<Function, Kept...>()) {
    return KeptCall<Function, Kept...>::submission_of(std::forward<F>(f), std::forward<Args>(args)...);
  } else {
    return Submission<typename Call<Function, Kept...>::Result>(
        make_task_keeping(kept, std::forward<F>(f), std::forward<Args>(args)...));
  }
}
template <class F, class... Args>
[[nodiscard]] auto make_call(F&& f, Args&&... args) {
  return make_call_keeping(StoredArguments<F, Args...>(), std::forward<F>(f), std::forward<Args>(args)...);
}

}  // namespace cohort::detail
