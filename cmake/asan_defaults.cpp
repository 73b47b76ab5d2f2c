// What AddressSanitizer does in test programs and the simulator unless ASAN_OPTIONS says otherwise: of the
// place where memory was allocated and freed it keeps the innermost frames only. Keeping all thirty is a
// fifth of the simulator's time. What is found stays the same; these programs repeat a run exactly, so
// ASAN_OPTIONS=malloc_context_size=30 tells the rest.
extern "C" const char*
__asan_default_options() {  // NOLINT(bugprone-reserved-identifier): the sanitizer's name
  return "malloc_context_size=4";
}
