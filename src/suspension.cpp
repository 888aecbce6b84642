#include <cohort/detail/suspension.hpp>

#include <utility>  // for std::exchange

#include "not_finishing.hpp"

namespace cohort::detail {

void Suspension::Registration::finish_detached() noexcept {
  if (!finish()) suspension_->resume();
}

void Suspension::fire_stop(Node& node) noexcept { static_cast<Suspension&>(node).fire(Wake::stopped); }

void Suspension::fire_time(Node& node) noexcept { static_cast<Suspension&>(node).fire(Wake::timed_out); }

void Suspension::describe_wait(const Node& node, ScopeReport& report) noexcept {
  const auto& self = static_cast<const Suspension&>(node);
  WaitsFor waits;
  if (self.awaited().waits_for != nullptr) waits = self.awaited().waits_for(self);
  waits.timed = self.timed();
  report.add(waits);
}

// How many sources were taken out, and so will not fire. Run by the claimer, and by registration when it comes after:
// each source is taken out once, by either. The claimer's own fires: there is nothing of it to take out.
unsigned Suspension::remove_sources() noexcept {
  const Wake claimer = reason();
  const unsigned others = claimer != Wake::ready || timed() ? remove_awaited_and_timer(claimer) : 0;
  return others + (claimer != Wake::stopped && scope() != nullptr && scope()->remove(*this) ? 1 : 0);
}

// What is seldom to be taken out.
unsigned Suspension::remove_awaited_and_timer(Wake claimer) noexcept {
  unsigned removed = 0;
  if (claimer != Wake::ready && awaited().remove != nullptr && awaited().remove(*this)) ++removed;
  if (claimer != Wake::timed_out && timed() && scheduler()->disarm(*this)) ++removed;
  return removed;
}

void Suspension::settle() noexcept { release(remove_sources() + 1); }

void Suspension::release(unsigned count) noexcept {
  if (give_up(count)) resume();
}

void Suspension::resume() noexcept {
  if (Scheduler* const resumed_on = scheduler(); resumed_on != nullptr) {
    resumed_on->schedule(*this);
  } else {
    const NotFinishing foreign_code;
    resume_here(coroutine());
  }
}

void Suspension::go_on(Node& node) noexcept {
  auto& self = static_cast<Suspension&>(node);
  thread_context().current = self.scope();
  resume_here(self.coroutine());
}

void Resumption::prepare(std::coroutine_handle<> handle, StateBase* task) noexcept {
  suspending();
  coroutine = handle;
  scope = task != nullptr ? task->scope : nullptr;
  static constexpr Kind a_turn{.run = [](Node& node) noexcept {
    auto& self = static_cast<Resumption&>(node);
    thread_context().current = self.scope;
    resume_here(self.coroutine);
  }};
  kind = &a_turn;
}

void throw_unless_ready(Wake reason, const char* timed_out) {
  switch (reason) {
    case Wake::stopped:
      throw_cancelled("the task was asked to stop while it waited");
    case Wake::timed_out:
      throw_timeout(timed_out);
    case Wake::none:
    case Wake::ready:
      return;
  }
}

void detach_inline_awaits(ThreadContext& context) noexcept {
  InlineAwait* const innermost = std::exchange(context.inline_awaits, nullptr);
  // All of them first: once one is registered, its coroutine may go on elsewhere, and end.
  for (InlineAwait* each = innermost; each != nullptr; each = each->previous) each->disown();
  for (InlineAwait* await = innermost; await != nullptr;) {
    InlineAwait* below = await->previous;  // first: once registered, the await may be over and gone
    await->detach();
    await = below;
  }
}

}  // namespace cohort::detail
