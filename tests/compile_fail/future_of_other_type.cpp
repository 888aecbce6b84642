// error: (cohort::|no match|no viable|conversion|convert)
// A future of a string does not become a future of an int.
#include <cohort/async_future.hpp>

#include <string>

void test(cohort::AsyncFuture<int> number, cohort::AsyncFuture<std::string> text) {
  number = number;
#ifdef COHORT_MISTAKE
  number = text;
#endif
}
