#include <cohort/detail/attempts.hpp>

#include <utility>  // for std::exchange

namespace cohort::detail {

std::coroutine_handle<> ScopedChild::start(std::coroutine_handle<> handle) {
  suspending();
  StateBase& parent = *parent_task_;
  if (parent.scheduler == nullptr && timed()) throw_needs_scheduler("a timeout");
  // Three to wait for: the child, and those who could stop it, when they are there.
  std::size_t count = 1;
  if (parent.scope != nullptr) ++count;
  if (timed()) ++count;
  begin(count, handle, parent.scheduler, parent.scope);
  on_first_ = &ended;
  begin_branch(*child_, *this, 0, parent.scheduler, &child_->own_scope);

  stop_.owner = this;
  static constexpr StopNode::Kind a_child{
      .fire = [](StopNode& node) noexcept { static_cast<StopSource&>(node).owner->stop_child(); },
      .describe =
          [](const StopNode& node, ScopeReport& report) noexcept {
            static_cast<const StopSource&>(node).owner->child_->own_scope.describe(report);
          }};
  stop_.kind = &a_child;
  if (parent.scope != nullptr && !parent.scope->add(stop_)) stop_.fire();
  time_.owner = this;
  // To stop the child may call an application's code, which may block: on a worker that waits for its loop.
  time_.fire = [](Timer& timer) noexcept {
    auto& source = static_cast<TimeSource&>(timer);
    ThreadContext& context = thread_context();
    if (context.firing_timers_of != nullptr && context.firing_timers_of == context.scheduler) {
      source.Node::next = std::exchange(context.alarms, &source);
    } else {
      source.owner->time_out();
    }
  };
  time_.run = [](Node& node) noexcept { static_cast<TimeSource&>(node).owner->time_out(); };
  if (timed()) {
    parent.scheduler->watch_clock();
    parent.scheduler->arm(time_);
  }

  thread_context().current = &child_->own_scope;
  return transfer(child_->frame());
}

void ScopedChild::stop_child() noexcept {
  child_->own_scope.request_stop();
  arrive_from_outside();
}

void ScopedChild::time_out() noexcept {
  timed_out_.store(true, std::memory_order_relaxed);  // relaxed: arriving shows it
  stop_child();
}

// The child has ended: who could have stopped it is taken back, or has fired and arrives by itself.
std::size_t ScopedChild::ended(Latch& latch) noexcept {
  auto& self = static_cast<ScopedChild&>(latch);
  std::size_t over = 0;
  const StateBase& parent = *self.parent_task_;
  if (parent.scope != nullptr && parent.scope->remove(self.stop_)) ++over;
  if (self.timed() && parent.scheduler->disarm(self.time_)) ++over;
  return over;
}

}  // namespace cohort::detail
