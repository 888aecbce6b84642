#include "suite.hpp"

#include <malloc.h>  // for malloc_trim
#include <sched.h>   // for sched_setaffinity
#include <unistd.h>  // for sysconf

#include <algorithm>   // for std::nth_element
#include <atomic>      // for std::atomic
#include <cmath>       // for std::ceil
#include <cstdio>      // for std::fprintf
#include <cstdlib>     // for std::getenv
#include <filesystem>  // for std::filesystem::directory_iterator
#include <fstream>     // for std::ifstream

namespace suite {
namespace {

std::atomic<bool> failed{false};

double scale_from_environment() {
  const char* text = std::getenv("COHORT_BENCHMARK_SCALE");
  if (text == nullptr || *text == '\0') return 1;
  char* end = nullptr;
  const double value = std::strtod(text, &end);
  if (*end != '\0' || !(value > 0 && value <= 1)) {
    std::fprintf(stderr, "COHORT_BENCHMARK_SCALE must be more than 0 and at most 1; it is \"%s\".\n", text);
    std::exit(2);
  }
  return value;
}

// Of every thread that the process has: one that a pool started long ago would otherwise keep its processors.
void set_processors(const cpu_set_t& processors) {
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) {
    const int thread = std::stoi(entry.path().filename().string());
    // One that ends meanwhile is no loss.
    static_cast<void>(sched_setaffinity(thread, sizeof(processors), &processors));
  }
}

cpu_set_t processors_at_start{};

}  // namespace

double scale() {
  static const double value = scale_from_environment();
  return value;
}

std::size_t scaled(std::size_t full, std::size_t least) {
  const double size = std::ceil(static_cast<double>(full) * scale());
  return std::max(static_cast<std::size_t>(size), least);
}

std::string name_of(const std::string& workload, const std::string& contender, std::size_t workers) {
  return workload + '/' + contender + '/' + std::to_string(workers);
}

void wrong_result(benchmark::State& state, long is, long should_be) {
  failed = true;
  state.SkipWithError(("the result is " + std::to_string(is) + " instead of " + std::to_string(should_be)).c_str());
}

void count_percentiles(benchmark::State& state, std::vector<std::uint64_t>& samples) {
  if (samples.empty()) return;
  const auto percentile = [&](std::size_t percent) {
    const std::size_t index = (samples.size() - 1) * percent / 100;
    const auto position = samples.begin() + static_cast<std::ptrdiff_t>(index);
    std::nth_element(samples.begin(), position, samples.end());
    return static_cast<double>(*position);
  };
  state.counters["p50"] = percentile(50);
  state.counters["p99"] = percentile(99);
}

std::size_t resident_memory() {
  std::ifstream file("/proc/self/statm");
  std::size_t total = 0;
  std::size_t resident = 0;
  file >> total >> resident;
  return resident * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

namespace {

// What is resident, but offered to the system: a program that uses it again has not had it meanwhile.
std::size_t offered_memory() {
  std::ifstream file("/proc/self/smaps_rollup");
  std::string word;
  while (file >> word) {
    std::size_t kilobytes = 0;
    if (word == "LazyFree:" && file >> kilobytes) return kilobytes * 1024;
  }
  return 0;
}

}  // namespace

std::size_t settled_memory() {
  malloc_trim(0);
  return resident_memory() - offered_memory();
}

void reset_peak_memory() { std::ofstream("/proc/self/clear_refs") << "5"; }

std::size_t peak_memory() {
  std::ifstream file("/proc/self/status");
  std::string word;
  while (file >> word) {
    if (word == "VmHWM:") {
      std::size_t kilobytes = 0;
      file >> kilobytes;
      return kilobytes * 1024;
    }
  }
  return resident_memory();
}

PinnedToOneCpu::PinnedToOneCpu() {
  const int here = std::max(sched_getcpu(), 0);
  cpu_set_t one{};
  CPU_SET(static_cast<std::size_t>(here), &one);
  set_processors(one);
}

PinnedToOneCpu::~PinnedToOneCpu() { set_processors(processors_at_start); }

}  // namespace suite

int main(int argc, char** argv) {
  sched_getaffinity(0, sizeof(suite::processors_at_start), &suite::processors_at_start);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  suite::add_cases();
  benchmark::RunSpecifiedBenchmarks();
  return suite::failed ? 1 : 0;
}
