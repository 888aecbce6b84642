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

  static constexpr Node::Kind a_child{
      .run = [](Node& node) noexcept { static_cast<Stop&>(node).owner->time_out(); },
      .stop = [](Node& node) noexcept { static_cast<Stop&>(node).owner->stop_child(); },
      .describe =
          [](const Node& node, ScopeReport& report) noexcept {
            static_cast<const Stop&>(node).owner->child_->own_scope.describe(report);
          },
      .time_out =
          [](Node& node) noexcept {
            // To stop the child may call an application's code, which may block: on a worker that waits for its loop.
            ThreadContext& context = thread_context();
            if (context.firing_timers_of != nullptr && context.firing_timers_of == context.scheduler) {
              node.next = std::exchange(context.alarms, &node);
            } else {
              node.run();
            }
          }};
  stop_.kind = &a_child;
  if (parent.scope != nullptr && !parent.scope->add(stop_)) stop_.stop();
  if (timed()) {
    parent.scheduler->watch_clock();
    parent.scheduler->arm(stop_);
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
  if (self.timed() && parent.scheduler->disarm(self.stop_)) ++over;
  return over;
}

}  // namespace cohort::detail
