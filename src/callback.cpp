#include <cohort/detail/callback.hpp>
#include <cohort/detail/thread_context.hpp>

#include <cstdio>     // for std::fprintf
#include <exception>  // for std::current_exception

#include "live_schedulers.hpp"
#include "not_finishing.hpp"

namespace cohort::detail {
namespace {

constexpr unsigned max_callback_depth = 16;

}  // namespace

void CallbackList::push(CallbackNode& node) noexcept {
  node.after = nullptr;
  (last_ != nullptr ? last_->after : first_) = &node;
  last_ = &node;
}

void CallbackList::run() noexcept {
  if (first_ == nullptr) return;
  ThreadContext& context = thread_context();
  if (context.callback_depth >= max_callback_depth) {
    (context.last_deferred_callback != nullptr ? context.last_deferred_callback->after : context.deferred_callbacks) =
        first_;
    context.last_deferred_callback = last_;
    return;
  }
  const NotFinishing foreign_code;
  ++context.callback_depth;
  for (Waiter* node = first_; node != nullptr;) {
    Waiter* next = node->after;
    auto& callback = static_cast<CallbackNode&>(*node);
    callback.run(callback);
    node = next;
    if (node == nullptr && context.callback_depth == 1 && context.deferred_callbacks != nullptr) {
      node = context.deferred_callbacks;
      context.deferred_callbacks = context.last_deferred_callback = nullptr;
    }
  }
  --context.callback_depth;
}

void report_callback_exception(Scheduler* home) noexcept {
  std::exception_ptr exception = std::current_exception();
  if (pin_if_alive(home) != nullptr) {
    home->report(std::move(exception));
    home->drop_reference();
  } else {
    report_to_stderr(exception);
  }
}

void report_to_stderr(const std::exception_ptr& exception) noexcept {
  try {
    std::rethrow_exception(exception);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "cohort: unhandled exception in a callback: %s\n", error.what());
  } catch (...) {
    std::fputs("cohort: unhandled exception in a callback\n", stderr);
  }
}

}  // namespace cohort::detail
