/** Tells when a room is far from its usual temperature, and when its sensor stops. Change it to what you measure. */
import { count, ewma, mean, ndjsonFile, pipeline, silence, sliding, topic } from 'millrace'

export default pipeline('rooms')
  .from(topic('metrics', { partitionBy: ['room'] }))
  .where({ name: 'temperature' })
  .groupBy('room')
  .window(sliding({ size: '1m', every: '10s' }), { mean: mean(), n: count() })
  .detect('mean', ewma({ history: '1h', warmUp: '10m', minDeviation: 1 }), { hold: '30s' })
  .detect(silence({ after: '5m' }))
  .to(ndjsonFile({ path: 'alerts.ndjson' }))
