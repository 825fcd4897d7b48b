/**
 * Requests per second of each service, from a counter. A rise that lasts tells an autoscaler to add machines; a sudden drop,
 * which no bound would catch, alerts people.
 *
 *     millrace run examples/request-rate.ts
 *     curl -X POST 'http://127.0.0.1:8428/write?topic=requests' \
 *       --data-binary 'http_requests_total,service=shop value=1000800'
 *
 * Two hours of data lie beside it:
 *
 *     millrace run examples/request-rate.ts examples/data/requests.csv --time time --labels service \
 *       --name http_requests_total --data /tmp/request-rate
 */
import { ewma, pipeline, rate, sliding, threshold, topic, webhook } from 'millrace'

const requests = topic('requests', { partitionBy: ['service'] })
const lastMinute = sliding({ size: '1m', every: '10s' })

/** More than 250 a second for two minutes; over when it has fallen below 180. */
const scaleOut = pipeline('scale-out')
  .from(requests)
  .where({ name: 'http_requests_total' })
  .window(lastMinute, { perSecond: rate() })
  .detect('perSecond', threshold({ above: 250, clear: 180 }), { name: 'busy', hold: '2m' })
  .to(webhook({ url: process.env.SCALE_OUT_URL ?? 'http://127.0.0.1:9999/scale-out' }))

/** Far below what is usual for this service; a fifth less is nothing to wake anybody for. */
const trafficDrop = pipeline('traffic-drop')
  .from(requests)
  .where({ name: 'http_requests_total' })
  .window(lastMinute, { perSecond: rate() })
  .detect(
    'perSecond',
    ewma({ history: '30m', warmUp: '10m', relearn: '6h', direction: 'down', minRelativeDeviation: 0.2 }),
    { name: 'drop', hold: '1m' },
  )
  .to(webhook({ url: process.env.ALERTS_URL ?? 'http://127.0.0.1:9999/alerts' }))

export default [scaleOut, trafficDrop]
