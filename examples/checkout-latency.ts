/**
 * Alerts when the mean request latency of a checkout instance is far from where it usually is.
 *
 *     millrace run examples/checkout-latency.ts
 *     curl -X POST 'http://127.0.0.1:8428/write?topic=requests' \
 *       --data-binary 'http_request_duration_seconds,job=checkout,instance=a value=0.12'
 *
 * The topic is partitioned by instance, so that all series of one instance can be one group.
 */
import { count, ewma, mean, pipeline, sliding, topic, webhook } from 'millrace'

export default pipeline('checkout-latency')
  .from(topic('requests', { partitionBy: ['instance'] }))
  .where({ name: 'http_request_duration_seconds', job: 'checkout' })
  .groupBy('instance')
  .window(sliding({ size: '1m', every: '5s' }), { latency: mean(), n: count() })
  .detect('latency', ewma({ threshold: 6, history: '1h', direction: 'up' }), { hold: '30s' })
  .to(webhook({ url: 'http://127.0.0.1:9999/alerts' }))
