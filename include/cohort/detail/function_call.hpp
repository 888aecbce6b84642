#pragma once

#include <cohort/detail/call.hpp>
#include <cohort/detail/copyable.hpp>
#include <cohort/detail/sync.hpp>
#include <cohort/errors.hpp>
#include <cohort/task.hpp>

#include <any>          // for std::any
#include <atomic>       // for std::memory_order
#include <memory>       // for std::make_shared
#include <tuple>        // for std::tuple
#include <type_traits>  // for std::decay_t
#include <utility>      // for std::forward

namespace cohort::detail {

/// A callable with its arguments, of whatever types.
class FunctionCall {
 public:
  FunctionCall() = default;
  FunctionCall(const FunctionCall&) = delete;
  FunctionCall& operator=(const FunctionCall&) = delete;
  virtual ~FunctionCall() = default;

  [[nodiscard]] virtual bool repeatable() const noexcept = 0;
  /// A task that makes the call, on copies. *Throws*: InvalidStateError for the second of one that is not repeatable.
  [[nodiscard]] virtual Task<std::any> call() = 0;
};

/// A result as something that a `std::any` can hold.
template <class R>
[[nodiscard]] std::any as_any(R&& result) {
  using Value = std::decay_t<R>;
  if constexpr (copyable<Value>) {
    return std::any(std::forward<R>(result));
  } else {
    return std::any(std::make_shared<Value>(std::forward<R>(result)));
  }
}

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
// GCC 12 warns of each frame that holds something of a type without linkage.
#pragma GCC diagnostic ignored "-Wsubobject-linkage"
#endif
template <class R>
Task<std::any> result_as_any(Task<R> task) {
  if constexpr (std::is_void_v<R>) {
    co_await std::move(task);
    co_return std::any();
  } else {
    co_return as_any(co_await std::move(task));
  }
}
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

template <class F, class... Kept>
class BoundCall final : public FunctionCall {
 public:
  template <class G, class... Args>
  explicit BoundCall(G&& f, Args&&... args) : f_(std::forward<G>(f)), arguments_(std::forward<Args>(args)...) {}

  [[nodiscard]] bool repeatable() const noexcept override { return is_repeatable; }

  [[nodiscard]] Task<std::any> call() override {
    if constexpr (is_repeatable) {
      return std::apply(
          [this](const Kept&... each) { return result_as_any(call_later<F, Kept...>(std::as_const(f_), each...)); },
          std::as_const(arguments_));
    } else {
      // relaxed: whoever comes first takes all, and shares nothing with the others
      if (used_.exchange(true, std::memory_order_relaxed)) throw_invalid_state("this function can be run only once");
      return std::apply(
          [this](Kept&... each) { return result_as_any(call_later<F, Kept...>(std::move(f_), std::move(each)...)); },
          arguments_);
    }
  }

 private:
  static constexpr bool is_repeatable = copyable<F> && (copyable<Kept> && ...);

  F f_;
  std::tuple<Kept...> arguments_;
  sync::atomic<bool> used_{false};
};

template <class... Kept, class F, class... Args>
[[nodiscard]] std::shared_ptr<FunctionCall> bind_call_keeping(TypeList<Kept...>, F&& f, Args&&... args) {
  return std::make_shared<BoundCall<std::decay_t<F>, Kept...>>(std::forward<F>(f), std::forward<Args>(args)...);
}
/// Keeps a callable and its arguments as submit() does.
template <class F, class... Args>
[[nodiscard]] std::shared_ptr<FunctionCall> bind_call(F&& f, Args&&... args) {
  return bind_call_keeping(StoredArguments<F, Args...>(), std::forward<F>(f), std::forward<Args>(args)...);
}

/// Something that submit() would take.
template <class F, class... Args>
concept FunctionCallable = call_form<std::decay_t<F>, std::decay_t<Args>...>()
!= CallForm::none;

}  // namespace cohort::detail
