-- One line of JSON at the end of a run. No per-request function: those would slow wrk down.
function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    'bench-report {"requests": %d, "duration_s": %.6f, "body_and_head_bytes": %d, "connect_errors": %d, ' ..
    '"read_errors": %d, "write_errors": %d, "timeouts": %d, "bad_statuses": %d, "p50_us": %.1f, "p99_us": %.1f}\n',
    summary.requests, summary.duration / 1e6, summary.bytes, errors.connect, errors.read, errors.write,
    errors.timeout, errors.status, latency:percentile(50), latency:percentile(99)))
end
