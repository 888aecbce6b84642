#include <cohort/detail/branches.hpp>
#include <cohort/detail/thread_context.hpp>

#include <cstddef>  // for std::size_t

namespace cohort::detail {

std::coroutine_handle<> Branches::start(std::coroutine_handle<> handle) {
  suspending();
  StateBase& parent = *parent_task_;
  const bool stoppable = first_ends_all_ && parent.scope != nullptr;
  begin(count_ + (stoppable ? 1 : 0), handle, parent.scheduler, parent.scope);
  if (first_ends_all_) {
    on_first_ = &first_ended;
  } else {
    branches_ = states_;
    branch_count_ = count_;
  }
  for (std::size_t index = 0; index < count_; ++index) {
    StateBase& branch = *states_[index];
    begin_branch(branch, *this, index, parent.scheduler, first_ends_all_ ? &branch.own_scope : parent.scope);
  }
  if (stoppable) {
    stop_.owner = this;
    static constexpr Node::Kind some_branches{.stop =
                                                  [](Node& node) noexcept {
                                                    Branches& self = *static_cast<StopSource&>(node).owner;
                                                    self.stop_all();
                                                    self.arrive_from_outside();
                                                  },
                                              .describe =
                                                  [](const Node& node, ScopeReport& report) noexcept {
                                                    const Branches& self = *static_cast<const StopSource&>(node).owner;
                                                    for (std::size_t index = 0; index < self.count_ && !report.full();
                                                         ++index)
                                                      self.states_[index]->own_scope.describe(report);
                                                  }};
    stop_.kind = &some_branches;
    if (!parent.scope->add(stop_)) stop_.stop();
  }

  // The first runs here, right now. The others can be stolen, the last first. This is not over before the first has
  // started, so nothing here can be gone yet.
  if (parent.scheduler != nullptr) {
    if (count_ > 1) parent.scheduler->schedule_all(states_ + 1, count_ - 1);
  } else {
    // A stranger's coroutine outside any executor: one after the other.
    for (std::size_t index = count_; index-- > 1;) states_[index]->run();
  }
  StateBase& first = *states_[0];
  thread_context().current = first.scope;
  return transfer(first.frame());
}

void Branches::stop_all() noexcept {
  for (std::size_t index = 0; index < count_; ++index) states_[index]->own_scope.request_stop();
}

std::size_t Branches::first_ended(Latch& latch) noexcept {
  auto& self = static_cast<Branches&>(latch);
  self.stop_all();
  Scope* const scope = self.parent_task_->scope;
  return scope != nullptr && scope->remove(self.stop_) ? 1 : 0;
}

void AllOf::Awaiter::await_resume() const {
  if (count_ != 0 && first_failed() != none) std::rethrow_exception(states_[first_failed()]->error);
}

}  // namespace cohort::detail
