/** Worker thread of ring-transfer: one end of a ring. Posts the consumer's tallies, or null when all is produced. */
import { parentPort, workerData } from 'node:worker_threads'
import { consume, produce, type RingTraffic } from './ring-traffic.ts'

const { end, traffic } = workerData as { end: 'producer' | 'consumer'; traffic: RingTraffic }
if (end === 'producer') produce(traffic)
parentPort?.postMessage(end === 'consumer' ? consume(traffic) : null)
