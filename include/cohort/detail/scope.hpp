#pragma once

#include <cohort/detail/flagged_list.hpp>
#include <cohort/detail/node.hpp>
#include <cohort/detail/scope_report.hpp>

#include <stop_token>  // for std::stop_token

namespace cohort::detail {

/// Something to be told, once, when a scope is asked to stop.
struct alignas(16) StopNode : Node {
  void stop() noexcept { kind->stop(*this); }

  StopNode* after = nullptr;  // as in FlaggedLink
  union {
    StopNode* before = nullptr;
    Scheduler* scheduler;  // of a stranger's coroutine, which is never in a scope: where it waits
  };
};

/// What is cancelled together: a submitted task with its children. It knows whether it has started, whether it has been
/// asked to stop, and who waits in it.
///
/// Kept in the task's own state rather than in a `std::stop_source`, which would allocate and whose spin lock is held
/// across callbacks; a `std::stop_token` is made when someone asks for one.
///
/// *Thread safety*: all members from any thread.
class Scope {
 public:
  Scope() = default;
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;
  ~Scope() {
    if (!empty()) [[unlikely]]
      drop_token_sources();
  }

  /// Whether nothing waits in it and there is no token of it: a hint while others may add.
  [[nodiscard]] bool empty() const noexcept { return nodes_.empty(); }

  [[nodiscard]] bool stop_requested() const noexcept { return nodes_.has(Nodes::closed); }
  [[nodiscard]] bool started() const noexcept { return nodes_.has(Nodes::marked); }

  /// Claims the start: true for one caller only. Whoever runs the task, and whoever cancels it before it has run, must
  /// have won here.
  [[nodiscard]] bool try_start() noexcept { return nodes_.mark(); }

  /// Claims the start so that it never happens: true for one caller only, among those of try_start() too.
  [[nodiscard]] bool try_cancel_start() noexcept { return nodes_.mark_void(); }
  [[nodiscard]] bool start_cancelled() const noexcept { return nodes_.has(Nodes::void_mark); }

  /// Claims the start when nobody else can see the scope, and nothing is in it: no locked operation.
  void start_alone() noexcept { nodes_.set_alone(Nodes::marked); }

  /// Asks everything in the scope to stop: fires the nodes one at a time, in the caller, under no lock. True the first
  /// time.
  bool request_stop() noexcept;

  /// Adds a node; false, and nothing added, when a stop has been requested already.
  [[nodiscard]] bool add(StopNode& node) noexcept { return nodes_.add(node); }

  /// Takes a node out; false when it is not in: never added, or taken by request_stop(), which then fires it.
  bool remove(StopNode& node) noexcept { return nodes_.remove(node); }

  /// What waits in here, and in the scopes under it, while it is there.
  void describe(ScopeReport& report) noexcept {
    report.add(*this);
    nodes_.find([&report](const StopNode& node) noexcept {
      if (node.kind->describe != nullptr) node.kind->describe(node, report);
      return report.full();
    });
  }

  /// A token of this scope. *Throws*: `std::bad_alloc`.
  [[nodiscard]] std::stop_token token();

 private:
  using Nodes = FlaggedList<StopNode>;  // closed: stop requested; marked: started

  void drop_token_sources() noexcept;

  Nodes nodes_;
};

}  // namespace cohort::detail
