import { drive } from 'millrace/testing'
import 'millrace/testing/vitest'
import { expect, test } from 'vitest'
import rooms from './pipeline.ts'

function measured(room: string, value: number) {
  return { name: 'temperature', labels: { room }, value }
}

test('a room that heats up is told, the others are not', () => {
  const driver = drive(rooms)
  for (let second = 0; second < 1_800; second += 5) {
    const wobble = (second % 30) / 100
    const fire = second >= 1_500 ? 15 : 0
    driver.send([measured('kitchen', 21 + wobble + fire), measured('office', 20 + wobble)])
    driver.advance('5s')
  }
  expect(driver).toBeFiring({ detector: 'mean-ewma', group: { room: 'kitchen' }, direction: 'up' })
  expect(driver).not.toHaveFired({ group: { room: 'office' } })
})

test('a sensor that stops is told after five minutes', () => {
  const driver = drive(rooms).send(measured('kitchen', 21))
  expect(driver.advance('5m')).not.toBeFiring()
  expect(driver.advance('1s')).toBeFiring({ detector: 'silence', group: { room: 'kitchen' } })
  driver.send(measured('kitchen', 21))
  expect(driver).not.toBeFiring()
})
