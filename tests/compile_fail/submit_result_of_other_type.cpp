// error: (conversion from [^ ]*AsyncFuture|no viable conversion from)
// The future has the type that the task returns.
#include <cohort/async_executor.hpp>

#include <string>

cohort::Task<int> answer() { co_return 42; }

void test(cohort::AsyncExecutor& executor) {
#ifdef COHORT_MISTAKE
  cohort::AsyncFuture<std::string> future = executor.submit(answer);
#else
  cohort::AsyncFuture<int> future = executor.submit(answer);
#endif
}
