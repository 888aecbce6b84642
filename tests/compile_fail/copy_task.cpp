// error: deleted .*Task<
// A task is one run of one coroutine: it has one owner.
#include <cohort/task.hpp>

#include <utility>

cohort::Task<int> answer() { co_return 42; }

void test() {
  cohort::Task<int> task = answer();
#ifdef COHORT_MISTAKE
  cohort::Task<int> other = task;
#else
  cohort::Task<int> other = std::move(task);
#endif
}
