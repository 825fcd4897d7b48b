/**
 * Freezers: one that is too warm for ten minutes, and one whose sensor has stopped, which is as bad.
 *
 *     millrace run examples/sensors.ts
 *     curl -X POST http://127.0.0.1:8428/write --data-binary 'celsius,freezer=north value=-19.5'
 *
 * Three hours of data lie beside it; over a file, windows and alerts go by the times in it. Silence goes by when samples arrive:
 * it is for the running node.
 *
 *     millrace run examples/sensors.ts examples/data/sensors.ndjson --time time --value celsius --labels freezer \
 *       --name freezer --data /tmp/sensors
 */
import { max, mean, min, ndjsonFile, pipeline, silence, sliding, threshold, topic } from 'millrace'

export default pipeline('freezers')
  .from(topic('metrics', { partitionBy: ['freezer'] }))
  .where({ name: ['celsius', 'freezer_celsius'] })
  .groupBy('freezer')
  // A gateway that lost its network sends what it has measured meanwhile.
  .disorder('1m')
  .window(sliding({ size: '5m', every: '1m' }), { mean: mean(), coldest: min(), warmest: max() })
  // The mean, so that a door that is opened for a moment tells nobody; over at -17, so that it does not flicker.
  .detect('mean', threshold({ above: -15, clear: -17 }), { name: 'too-warm', hold: '5m' })
  .detect(silence({ after: '10m' }), { name: 'no-signal' })
  .to(ndjsonFile({ path: process.env.ALERTS_FILE ?? 'freezer-alerts.ndjson' }))
