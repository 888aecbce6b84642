// error: the callable cannot be called with these arguments
// What is submitted is called with the arguments that follow it.
#include <cohort/async_executor.hpp>

#include <string>

cohort::Task<int> twice(int x) { co_return 2 * x; }

void test(cohort::AsyncExecutor& executor) {
#ifdef COHORT_MISTAKE
  executor.submit(twice, std::string("ten"));
#else
  executor.submit(twice, 10);
#endif
}
