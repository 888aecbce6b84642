#include <cohort/detail/suspension.hpp>

#include <utility>  // for std::exchange

#include "not_finishing.hpp"

namespace cohort::detail {

Suspension::Registration::Registration(Suspension& suspension, std::coroutine_handle<> handle,
                                       const Awaited& awaited) noexcept
    : suspension_(&suspension) {
  suspending();
  suspension.kind = &awaited.node;
  if (!suspension.of_task_) {
    suspension.stranger_ = handle;
    suspension.StopNode::scheduler = thread_context().scheduler;
  }
  suspension.pending_.store(all_counts, std::memory_order_relaxed);  // relaxed: not registered anywhere yet
}

void Suspension::Registration::watch_stop() noexcept {
  Scope* const stopped_with = suspension_->scope();
  if (stopped_with == nullptr) return;
  add_source();
  if (!stopped_with->add(*suspension_)) suspension_->fire(Wake::stopped);
}

void Suspension::Registration::watch_deadline() noexcept {
  if (!suspension_->timed()) return;
  add_source();
  suspension_->scheduler()->arm(*suspension_);
}

bool Suspension::Registration::finish() noexcept {
  // After the registrations: of a source that claims and one that registers, one sees the other. A source that claims later
  // removes the others itself; they are all registered by now.
  if (suspension_->reason_.load(std::memory_order_seq_cst) != Wake::none) counts_ += suspension_->remove_sources();
  return !suspension_->give_up(counts_);
}

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

bool Suspension::claim(Wake reason) noexcept {
  Wake none = Wake::none;
  // Before the look for the other sources: see Registration::finish(). relaxed: who comes too late just goes.
  return reason_.compare_exchange_strong(none, reason, std::memory_order_seq_cst, std::memory_order_relaxed);
}

// How many sources were taken out, and so will not fire. Run by the claimer, and by registration when it comes after:
// each source is taken out once, by either.
unsigned Suspension::remove_sources() noexcept {
  const Wake claimer = reason();  // it fires: there is nothing of it to take out
  unsigned removed = 0;
  if (claimer != Wake::ready && awaited().remove != nullptr && awaited().remove(*this)) ++removed;
  if (claimer != Wake::stopped && scope() != nullptr && scope()->remove(*this)) ++removed;
  if (claimer != Wake::timed_out && timed() && scheduler()->disarm(*this)) ++removed;
  return removed;
}

void Suspension::settle() noexcept { release(remove_sources() + 1); }

// True for whoever gives up the last: that one sees what all others did, and nobody else touches this any more.
bool Suspension::give_up(unsigned count) noexcept {
  return pending_.load(std::memory_order_seq_cst) == count ||
         pending_.fetch_sub(static_cast<std::uint8_t>(count), std::memory_order_seq_cst) == count;
}

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
