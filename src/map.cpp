#include <cohort/errors.hpp>
#include <cohort/map.hpp>

namespace cohort::detail {

void validate(const MapOptions& options) {
  validate(options.retries, options.retry_delay, options.backoff, options.max_retry_delay, options.jitter);
  if (options.max_concurrency == 0) throw_invalid_argument("max_concurrency must be at least 1");
  if (options.buffer_size == 0) throw_invalid_argument("buffer_size must be at least 1");
  if (options.chunk_size == 0) throw_invalid_argument("chunk_size must be at least 1");
}

}  // namespace cohort::detail
