/**
 * Watches the metrics of this machine: what `millrace demo` runs. Each series is a group of its own: a core, a disk, a
 * network interface. Samples come once a second and in order, so windows wait for stragglers only briefly.
 */
import { ewma, max, mean, pipeline, rangeBreach, silence, sliding, threshold, topic } from 'millrace'

const metrics = topic('metrics')
const lastTenSeconds = sliding({ size: '10s', every: '1s' })

/** Shares of something that can be used up. */
const usage = pipeline('host-usage')
  .from(metrics)
  .where({ name: ['host_cpu_busy_ratio', 'host_memory_used_ratio'] })
  .disorder('500ms')
  .idle('5s')
  .window(lastTenSeconds, { mean: mean(), max: max() })
  .detect('mean', ewma({ history: '10m', warmUp: '1m', direction: 'up', minDeviation: 0.1 }), { hold: '5s' })
  .detect('mean', threshold({ above: 0.95, clear: 0.9 }), { name: 'full', hold: '1m' })

/** How many want to run. */
const load = pipeline('host-load')
  .from(metrics)
  .where({ name: 'host_load1' })
  .disorder('500ms')
  .idle('5s')
  .window(lastTenSeconds, { mean: mean() })
  .detect('mean', ewma({ history: '10m', warmUp: '1m', direction: 'up', minDeviation: 0.5 }), { hold: '5s' })

/** Bytes moved: bursts are normal, so only what lasts or was never seen counts. */
const traffic = pipeline('host-traffic')
  .from(metrics)
  .where({ name: /host_(disk|network)_.+_bytes_per_second/ })
  .disorder('500ms')
  .idle('5s')
  .window(lastTenSeconds, { mean: mean(), max: max() })
  .detect('mean', ewma({ history: '10m', warmUp: '1m', direction: 'up', minDeviation: 1e6 }), { hold: '10s' })
  .detect('max', rangeBreach({ warmUp: '5m', direction: 'up', margin: 0.5, minDeviation: 1e6 }), {
    name: 'record',
  })

/** Whether the metrics come at all. */
const alive = pipeline('host-alive')
  .from(metrics)
  .where({ name: /host_.+/ })
  .disorder('500ms')
  .idle('5s')
  .window(sliding({ size: '10s', every: '10s' }), { last: mean() })
  .detect(silence({ after: '10s' }), { hold: '5s' })

/** Cores that millrace itself wants, four times a second: what `millrace demo --disturb` burns shows here within seconds. */
const itself = pipeline('millrace-itself')
  .from(metrics)
  .where({ name: 'process_cpu_demand_cores' })
  .disorder('250ms')
  .idle('5s')
  .window(sliding({ size: '2s', every: '250ms' }), { mean: mean(), max: max() })
  .detect('mean', ewma({ threshold: 5, history: '5m', warmUp: '5s', direction: 'up', minDeviation: 0.5 }), {
    name: 'cpu',
    hold: '500ms',
  })
  // Where others crowd the cores so that no level is unusual, this much is all the same.
  .detect('mean', threshold({ above: 6, clear: 4 }), { name: 'burst', hold: '500ms' })

export default [usage, load, traffic, alive, itself]
