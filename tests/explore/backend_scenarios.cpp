// S17: tasks by their names.

#include <cohort/async_executor.hpp>
#include <cohort/concurrent_execution_backend.hpp>
#include <cohort/detail/sync_thread.hpp>

#include <stdexcept>
#include <string>
#include <vector>

#include "support.hpp"
#include "task_registry.hpp"

namespace {

using namespace explore;
using cohort::BackendState;
using cohort::ConcurrentExecutionBackend;
using cohort::FunctionTask;
using cohort::TaskDescription;
using cohort::TaskResult;
using cohort::TaskState;

std::vector<TaskDescription> batch(FunctionTask function) {
  std::vector<TaskDescription> tasks;
  tasks.emplace_back("a", std::move(function));
  return tasks;
}

// The registry by itself: a task ends while its uid is used again and cancelled. The uid is refused until it is free;
// each task is told of in order.
const Scenario s17("S17", "cancel(uid) meets finish meets submit of the same uid", {"refused", "accepted"}, [] {
  cohort::detail::TaskRegistry registry(nullptr, 8);
  std::string told;
  registry.add_callback([&](const TaskResult&, TaskState state) {
    told += state == TaskState::running ? 'r' : state == TaskState::done ? 'd' : '?';
  });
  const auto records = registry.accept(batch([] {}));
  const auto future = records[0]->promise.get_future();
  bool ending = false;
  jthread body([&] {
    registry.started(*records[0]);
    ending = true;
    registry.finished(*records[0], TaskState::done);
  });
  jthread canceller([&] { registry.cancel("a"); });
  bool accepted = false;
  try {
    const auto again = registry.accept(batch([] {}));
    accepted = true;
    check(ending, "a uid is free when its task has ended");
    registry.started(*again[0]);
    registry.finished(*again[0], TaskState::done);
  } catch (const std::invalid_argument&) {
  }
  registry.close();
  registry.wait_until_finished();
  check(registry.task_state("a") == TaskState::done, "it is remembered");
  check(future.done() && future.get().state == TaskState::done, "the future has the result");
  check(accepted ? told.size() == 4 : told == "rd", "every change is told");
  return accepted ? "accepted" : "refused";
});

// The whole backend: a task that was cancelled in the queue never runs, and every one has one terminal state.
const Scenario s17_backend("S17-backend", "cancel_task meets a task's end meets submit of the same uid",
                           {"done, refused", "done, accepted", "canceled, refused", "canceled, accepted"}, [] {
                             int runs = 0;
                             std::string told;
                             bool accepted = false;
                             bool cancelled = false;
                             TaskState first = TaskState::pending;
                             {
                               explore::Calm calm;
                               AsyncExecutor executor(1);
                               calm.end();
                               ConcurrentExecutionBackend backend(executor);
                               backend.register_callback([&](const TaskResult& result, TaskState state) {
                                 if (result.metadata.count("first") == 0) return;
                                 told += state == TaskState::running ? 'r' : state == TaskState::done ? 'd' : 'c';
                               });
                               auto tasks = batch([&runs] { ++runs; });
                               tasks[0].metadata["first"];
                               const auto futures = backend.submit_tasks(std::move(tasks));
                               jthread canceller([&] { cancelled = backend.cancel_task("a"); });
                               try {
                                 static_cast<void>(backend.submit_tasks(batch([] {})));
                                 accepted = true;
                               } catch (const std::invalid_argument&) {
                               }
                               canceller.join();
                               first = futures[0].get().state;
                               backend.shutdown();
                             }
                             if (first == TaskState::canceled) {
                               check(told == "c" && runs == 0, "cancelled in the queue, it does not run");
                               check(cancelled, "it is cancelled by the one who says so");
                               return accepted ? "canceled, accepted" : "canceled, refused";
                             }
                             check(first == TaskState::done && told == "rd" && runs == 1, "it runs once");
                             return accepted ? "done, accepted" : "done, refused";
                           });

// The executor of a backend shuts down while a batch is submitted: refused as a whole, or each of the batch comes to an
// end.
const Scenario s17_executor("S17-executor", "submit of a batch meets the executor's shutdown",
                            {"refused", "both done", "one failed"}, [] {
                              explore::Calm calm;
                              AsyncExecutor executor(1);
                              calm.end();
                              ConcurrentExecutionBackend backend(executor);
                              jthread closer([&] { executor.shutdown(); });
                              int done = 0;
                              int failed = 0;
                              try {
                                std::vector<TaskDescription> tasks = batch([] {});
                                tasks.emplace_back("b", FunctionTask([] {}));
                                for (const auto& future : backend.submit_tasks(std::move(tasks))) {
                                  const TaskState state = future.get().state;
                                  ++(state == TaskState::done ? done : failed);
                                }
                              } catch (const cohort::ExecutorShutdownError&) {
                                check(!backend.task_state("a").has_value(), "nothing is known of what was refused");
                                return "refused";
                              }
                              check(done + failed == 2 && failed <= 1, "each comes to an end");
                              return failed == 0 ? "both done" : "one failed";
                            });

// The future of a task's result is cancelled as the task ends: the future is, and the task is told to its end.
const Scenario s17_future("S17-future", "a task's end meets cancel of its future",
                          {"canceled in the queue", "canceled, though done", "done"}, [] {
                            std::string told;
                            bool cancelled = false;
                            {
                              explore::Calm calm;
                              AsyncExecutor executor(1);
                              calm.end();
                              ConcurrentExecutionBackend backend(executor);
                              backend.register_callback([&](const TaskResult&, TaskState state) {
                                told += state == TaskState::running ? 'r' : state == TaskState::done ? 'd' : 'c';
                              });
                              const auto futures = backend.submit_tasks(batch([] {}));
                              futures[0].cancel();
                              futures[0].wait();
                              cancelled = futures[0].cancelled();
                            }
                            check(told == "rd" || told == "c" || told == "rc", "it is told to its end");
                            if (told == "c") {
                              check(cancelled, "what is cancelled in the queue has no other result");
                              return "canceled in the queue";
                            }
                            return cancelled ? "canceled, though done" : "done";
                          });

// A task that only a cancellation can end is cancelled as soon as it is known.
const Scenario s17_unset("S17-unset", "cancel_task meets the start of its task", {"canceled"}, [] {
  explore::Calm calm;
  cohort::AsyncPromise<int> promise;
  AsyncExecutor executor(1);
  calm.end();
  ConcurrentExecutionBackend backend(executor);
  jthread canceller([&] {
    while (!backend.cancel_task("a")) cohort::detail::sync::yield();
  });
  const auto body = [](AsyncFuture<int> awaited) -> cohort::Task<int> { co_return co_await awaited; };
  const auto futures = backend.submit_tasks(batch(FunctionTask(body, promise.get_future())));
  check(futures[0].get().state == TaskState::canceled, "what was asked to stop has stopped");
  return "canceled";
});

// A backend shuts down while a task is submitted: refused, or told of to its end, before shutdown() returns.
const Scenario s17_shutdown("S17-shutdown", "submit meets the backend's shutdown", {"refused", "done", "canceled"}, [] {
  explore::Calm calm;
  std::string told;
  std::vector<AsyncFuture<TaskResult>> futures;
  AsyncExecutor executor(1);
  calm.end();
  ConcurrentExecutionBackend backend(executor);
  backend.register_callback([&](const TaskResult&, TaskState state) {
    told += state == TaskState::running ? 'r' : state == TaskState::done ? 'd' : 'c';
  });
  jthread submitter([&] {
    try {
      futures = backend.submit_tasks(batch([] {}));
    } catch (const cohort::ExecutorShutdownError&) {
    }
  });
  backend.shutdown();
  const std::string told_at_shutdown = told;
  submitter.join();
  check(told == told_at_shutdown, "nothing is told after shutdown");
  check(backend.state() == BackendState::shutdown, "it is shut down");
  if (futures.empty()) {
    check(told.empty(), "nothing is told of what was refused");
    return "refused";
  }
  const TaskState state = futures[0].get().state;
  check(state == TaskState::done ? told == "rd" : told == "c" || told == "rc", "told to its end");
  return state == TaskState::done ? "done" : "canceled";
});

}  // namespace
